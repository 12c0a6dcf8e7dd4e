package eventreceiver

import (
	"encoding/json"

	"carbonado.dev/carbonado/components/eventreceiver/session"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
)

// handOver makes sessions and plain Thrift connections outlive this process when another one takes its place. Agents notice nothing:
// those of WSO2 need a minute and more to come back after a connection was cut, and lose events meanwhile. Connections of the secure
// port are closed between two calls instead; logins go over them, and they are short.
func (r *receiver) handOver() {
	r.c.Handover("sessions", func() []component.Handed {
		state, err := json.Marshal(r.sessions.Save())
		if err != nil {
			r.log.Error("sessions can't be handed over", "error", err)
			return nil
		}
		return []component.Handed{{State: state}}
	}, func(h component.Handed) error {
		var all []session.Saved
		if err := json.Unmarshal(h.State, &all); err != nil {
			return err
		}
		r.sessions.Restore(all)
		return nil
	})
	r.c.Handover("thrift", func() []component.Handed {
		var out []component.Handed
		for _, s := range r.servers {
			for _, p := range s.Parked() {
				out = append(out, component.Handed{Conn: p.Conn, State: p.Pending})
			}
		}
		r.log.Info("connections are handed over", "count", len(out))
		return out
	}, func(h component.Handed) error {
		// The plain port is the first.
		r.servers[0].Adopt(r.c.Context(), databridge.Parked{Conn: h.Conn, Pending: h.State})
		return nil
	})
}
