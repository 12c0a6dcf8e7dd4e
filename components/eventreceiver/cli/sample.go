package cli

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"time"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge/streamdef"
)

// SmartHome is the stream of the sample (DAS.md section 4.10).
var SmartHome = &streamdef.Definition{
	Name: "org.wso2.das.sample.smart.home.data", Version: "1.0.0", NickName: "Smart Home", Description: "Readings of the power that devices in homes take.",
	Payload: []streamdef.Attribute{
		{Name: "house_id", Type: streamdef.Int}, {Name: "metro_area", Type: streamdef.String}, {Name: "state", Type: streamdef.String},
		{Name: "device_id", Type: streamdef.Int}, {Name: "power_reading", Type: streamdef.Float}, {Name: "is_peak", Type: streamdef.Bool},
	},
}

// places are the sample's metro areas with their states.
var places = [10][2]string{
	{"New York", "New York"}, {"Los Angeles", "California"}, {"Chicago", "Illinois"}, {"Houston", "Texas"}, {"Philadelphia", "Pennsylvania"},
	{"Phoenix", "Arizona"}, {"San Antonio", "Texas"}, {"San Diego", "California"}, {"Seattle", "Washington"}, {"San Jose", "California"},
}

// reading makes one event: house 1 to 21, a place, device 1 to 7, and up to 1,000 W.
func reading(r *rand.Rand, now time.Time) agent.Event {
	p := places[r.IntN(len(places))]
	power := float32(r.Float64() * float64(1+r.IntN(10)) * 100)
	return agent.Event{Stream: SmartHome.ID(), Time: now.UnixMilli(), Values: []any{int32(1 + r.IntN(21)), p[0], p[1], int32(1 + r.IntN(7)), power, r.IntN(2) == 1}}
}

const (
	// tick is the pace of a sample with a rate.
	tick = 20 * time.Millisecond
	// progressEvery is how often an endless sample prints its counters.
	progressEvery = 30 * time.Second
)

// Sample is `carbonado sample smart-home --rate N --count N`.
func Sample(ctx context.Context, inv *component.Invocation) int {
	t := &target{inv: inv}
	f := flag.NewFlagSet("sample", flag.ContinueOnError)
	f.SetOutput(inv.Stderr)
	rate := f.Float64("rate", 50, "events per second; 0 is as many as possible")
	count := f.Uint64("count", 1000, "how many events; 0 is without end")
	t.flags(f)
	f.Usage = func() {
		fmt.Fprint(inv.Stderr, "usage: carbonado sample smart-home [flags]\nDefines the sample's stream, if it is not, and publishes random readings to it.\n")
		f.PrintDefaults()
	}
	args := inv.Args
	if len(args) > 0 && args[0] == "smart-home" { // flags come before or after
		args = append(append([]string(nil), args[1:]...), args[0])
	}
	if err := f.Parse(args); err != nil || f.NArg() != 1 || f.Arg(0) != "smart-home" || *rate < 0 {
		if err == nil {
			f.Usage()
		}
		return exitUsage
	}
	p := &publication{inv: inv}
	a, err := t.connect(ctx, agent.Options{Settled: p.settled})
	if err != nil {
		return fail(inv, err)
	}
	if _, err = a.DefineStream(ctx, string(SmartHome.JSON())); err == nil {
		err = pace(ctx, inv, a, *rate, *count)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if closeErr := a.Close(end); err == nil {
		err = closeErr
	}
	s := a.Stats()
	fmt.Fprintf(inv.Stdout, "%d events acknowledged, %d failed, %d bundles, %d sent again\n", s.Acknowledged, s.Failed, s.Bundles, s.Resends)
	switch {
	case err != nil:
		return fail(inv, err)
	case ctx.Err() != nil && *count > 0:
		return exitInterrupted
	case s.Failed > 0 && s.Acknowledged > 0:
		return exitPartly
	case s.Failed > 0:
		return exitFailed
	}
	return exitOK
}

// pace publishes count events at a rate until ctx ends.
func pace(ctx context.Context, inv *component.Invocation, a *agent.Agent, rate float64, count uint64) error {
	r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	began := time.Now()
	told := began
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for n := uint64(0); count == 0 || n < count; {
		now := time.Now()
		due := n + 1000
		if rate > 0 {
			due = uint64(now.Sub(began).Seconds()*rate) + 1
		}
		if count > 0 {
			due = min(due, count)
		}
		for ; n < due; n++ {
			if err := a.Publish(ctx, reading(r, now)); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
		if now.Sub(told) >= progressEvery {
			told = now
			s := a.Stats()
			fmt.Fprintf(inv.Stderr, "sample: %d events acknowledged, %d failed, %d waiting\n", s.Acknowledged, s.Failed, s.Waiting)
		}
		if rate == 0 && ctx.Err() == nil {
			continue
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
