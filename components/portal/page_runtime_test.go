//go:build ui

package portal

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

const (
	apiStatus = `{"state":"RUNNING","profile":"default","guardianPid":4100,"kernelPid":4101,"since":"2026-11-25T18:00:00Z","nodeId":"n1","version":"0.1.0"}`

	apiComponents = `[
 {"name":"AnalyticsEngine","version":"1.0.0","state":"ACTIVE","health":"OK","pid":4120,"restarts":0,"disabledBy":"","cause":null},
 {"name":"AnalyticsExecution","version":"1.0.0","state":"WAITING","health":"UNKNOWN","pid":0,"restarts":0,"disabledBy":"","cause":{"code":"CBN-DEP-004","text":"AnalyticsExecution waits for a Coordinator lease.","chain":[{"code":"CBN-CLU-002","text":"The lease scripts is held by node n2 until 18:04:10.","chain":[],"fix":"Wait, or stop the other node."}],"fix":""}},
 {"name":"DataService","version":"1.0.0","state":"ACTIVE","health":"WARN","pid":4112,"restarts":1,"disabledBy":"","cause":{"code":"CBN-STORE-017","text":"The disk of repository/data is 91 % full.","chain":[],"fix":"Free space, or purge old records."}},
 {"name":"EventReceiver","version":"1.0.0","state":"FAILED","health":"UNKNOWN","pid":0,"restarts":5,"disabledBy":"","cause":{"code":"CBN-SUP-012","text":"EventReceiver failed five times within ten minutes.","chain":[{"code":"CBN-RCV-002","text":"Port 7711 cannot be served.","chain":[{"code":"CBN-RCV-009","text":"The keystore repository/resources/security/wso2carbon.jks has another password.","chain":[],"fix":"Correct Security.KeyStore.Password in carbon.xml.","file":"repository/conf/carbon.xml","line":41,"column":9}],"fix":""}],"fix":"carbonado component start EventReceiver, once the cause is gone."}},
 {"name":"EventSink","version":"1.0.0","state":"ACTIVE","health":"OK","pid":4131,"restarts":0,"disabledBy":"","cause":null},
 {"name":"Identity","version":"1.0.0","state":"ACTIVE","health":"OK","pid":4109,"restarts":0,"disabledBy":"","cause":null},
 {"name":"Indexing","version":"1.0.0","state":"DISABLED","health":"UNKNOWN","pid":0,"restarts":0,"disabledBy":"-DdisableIndexing=true","cause":{"code":"CBN-PLAN-002","text":"Indexing is disabled: -DdisableIndexing=true (argument 2)","chain":[],"fix":"Start without -DdisableIndexing=true."}},
 {"name":"Portal","version":"1.0.0","state":"ACTIVE","health":"OK","pid":4140,"restarts":0,"disabledBy":"","cause":null}]`

	apiPlan = `{"components":[
 {"name":"Identity","installed":true,"enabled":true,"runs":true,"rule":"default","order":1,"wires":[],"causes":[]},
 {"name":"DataService","installed":true,"enabled":true,"runs":true,"rule":"default","order":2,"wires":[],"causes":[]},
 {"name":"AnalyticsEngine","installed":true,"enabled":true,"runs":true,"rule":"default","order":3,"wires":[{"reference":"store","service":"carbonado.analytics.v1.RecordStore","provider":"DataService","version":"1.0.0","cardinality":"1..1"}],"causes":[]},
 {"name":"EventSink","installed":true,"enabled":true,"runs":true,"rule":"default","order":4,"wires":[{"reference":"store","service":"carbonado.analytics.v1.RecordStore","provider":"DataService","version":"1.0.0","cardinality":"1..1"}],"causes":[]},
 {"name":"EventReceiver","installed":true,"enabled":true,"runs":true,"rule":"default","order":5,"wires":[],"causes":[]},
 {"name":"AnalyticsExecution","installed":true,"enabled":true,"runs":true,"rule":"default","order":6,"wires":[{"reference":"engine","service":"carbonado.analytics.v1.Engine","provider":"AnalyticsEngine","version":"1.0.0","cardinality":"1..1"}],"causes":[]},
 {"name":"Portal","installed":true,"enabled":true,"runs":true,"rule":"default","order":7,"wires":[{"reference":"records","service":"carbonado.analytics.v1.RecordStore","provider":"DataService","version":"1.0.0","cardinality":"0..1"}],"causes":[]},
 {"name":"Indexing","installed":true,"enabled":false,"runs":false,"rule":"-DdisableIndexing=true","order":0,"wires":[],"causes":[]},
 {"name":"Ml","installed":false,"enabled":true,"runs":false,"rule":"default (repository/conf/profiles.yaml:14)","order":0,"wires":null,"causes":[{"code":"CBN-PLAN-003","text":"No package Ml is installed.","chain":[],"fix":"Install it below plugins/Ml."}]}]}`

	apiDiag = `{"name":"$NAME","state":"ACTIVE","health":"OK","since":"2026-11-25T18:00:02Z","profile":"default","disabledBy":"","cause":null,"blocks":[],"lastResult":"exit code 1","evidence":["[INFO]  $NAME: starting","[ERROR] $NAME: keystore: password verification failed"]}`

	apiHistory = `[{"seq":1,"time":"2026-11-25T18:00:00Z","from":"","to":"INSTALLED","reason":"found","actor":"kernel"},{"seq":2,"time":"2026-11-25T18:00:00Z","from":"INSTALLED","to":"RESOLVED","reason":"plan","actor":"kernel"},{"seq":3,"time":"2026-11-25T18:00:01Z","from":"RESOLVED","to":"STARTING","reason":"start","actor":"kernel"},{"seq":4,"time":"2026-11-25T18:00:02Z","from":"STARTING","to":"ACTIVE","reason":"acquired","actor":"kernel"}]`

	apiDetail = `{"summary":"What $NAME is for.","generation":10001,"since":"2026-11-25T18:00:02Z","package":"plugins/$NAME/1.0.0","digest":"e8ac","lastResult":"","provides":["carbonado.example.v1.$NAME 1.0.0"],
 "requires":[{"name":"records","service":"carbonado.analytics.v1.RecordStore","version":"[1.0,2)","cardinality":"1..1","policy":"dynamic","option":"greedy","filter":"","bound":[],"suspended":false}],
 "limits":[{"what":"memory 256 MiB","enforced":true,"by":"GOMEMLIMIT 204 MiB, RLIMIT_DATA 1 GiB","why":"no cgroup v2 controller was delegated to the server"},{"what":"processes 1024","enforced":false,"why":"it has no user of its own"}],
 "confinement":[{"what":"reads no files of others","enforced":true,"by":"Landlock 7"}]}`

	apiGraph = `{"focus":"","nodes":[
 {"name":"AnalyticsEngine","state":"ACTIVE","health":"OK","cause":null},{"name":"AnalyticsExecution","state":"WAITING","health":"UNKNOWN","cause":null},
 {"name":"DataService","state":"ACTIVE","health":"WARN","cause":null},{"name":"EventReceiver","state":"FAILED","health":"UNKNOWN","cause":null},
 {"name":"EventSink","state":"ACTIVE","health":"OK","cause":null},{"name":"Identity","state":"ACTIVE","health":"OK","cause":null},
 {"name":"Indexing","state":"DISABLED","health":"UNKNOWN","cause":null},{"name":"Portal","state":"ACTIVE","health":"OK","cause":null},{"name":"kernel","state":"ACTIVE","health":"OK","cause":null}],
 "edges":[{"from":"AnalyticsEngine","to":"DataService","reference":"store","service":"carbonado.analytics.v1.RecordStore","cardinality":"1..1","state":"bound"},
 {"from":"AnalyticsExecution","to":"AnalyticsEngine","reference":"engine","service":"carbonado.analytics.v1.Engine","cardinality":"1..1","state":"suspended"},
 {"from":"AnalyticsExecution","to":"kernel","reference":"leases","service":"carbonado.kernel.v1.Coordinator","cardinality":"1..1","state":"bound"},
 {"from":"EventSink","to":"DataService","reference":"store","service":"carbonado.analytics.v1.RecordStore","cardinality":"1..1","state":"bound"},
 {"from":"EventSink","to":"EventReceiver","reference":"streams","service":"carbonado.analytics.v1.StreamAdmin","cardinality":"1..1","state":"planned"},
 {"from":"Portal","to":"DataService","reference":"records","service":"carbonado.analytics.v1.RecordStore","cardinality":"0..1","state":"bound"}]}`

	apiServices = `[{"id":1,"service":"carbonado.analytics.v1.RecordStore","version":"1.0.0","provider":"DataService"}]`

	apiBoot = `{"since":"2026-11-25T18:00:00Z","kernelMs":210,"totalMs":1900,"components":[
 {"name":"DataService","waitedMs":0,"startingMs":900,"startedAtMs":210,"activeAtMs":1110,"after":"","attempts":1},
 {"name":"Portal","waitedMs":900,"startingMs":790,"startedAtMs":1110,"activeAtMs":1900,"after":"DataService","attempts":1}],"critical":["DataService","Portal"]}`

	apiConfig = `[{"key":"$KEY.fsync","value":true,"layer":"default","file":"plugins/$KEY/1.0.0/component.yaml","line":0,"column":0},
 {"key":"$KEY.password","value":"***","layer":"file","file":"repository/conf/components/$KEY.yaml","line":3,"column":1}]`

	apiError = `{"code":"$NAME","meaning":"A component is kept out by a rule.","fix":"See ` + "`carbonado profile`" + ` for the rules.","raisedIn":"runtime/plan"}`
)

// runtimeOf stands for the admin API of a runtime with something of everything.
func runtimeOf(mux *http.ServeMux) {
	for path, body := range map[string]string{
		"status": apiStatus, "components": apiComponents, "plan": apiPlan, "components/{name}/history": apiHistory,
		"graph": apiGraph, "services": apiServices, "boot": apiBoot, "config": apiConfig, "errors/{name}": apiError,
	} {
		mux.HandleFunc("GET /api/"+path, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.NewReplacer("$NAME", r.PathValue("name"), "$KEY", r.FormValue("key")).Replace(body))
		})
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(apiComponents), &all); err != nil {
		panic(err)
	}
	find := func(name string) map[string]any {
		i := slices.IndexFunc(all, func(c map[string]any) bool { return c["name"] == name })
		if i < 0 {
			return nil
		}
		return maps.Clone(all[i])
	}
	answer := func(w http.ResponseWriter, status int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	mux.HandleFunc("GET /api/components/{name}", func(w http.ResponseWriter, r *http.Request) {
		one := find(r.PathValue("name"))
		if one == nil {
			answer(w, http.StatusNotFound, map[string]any{"status": "failed", "message": "no such component", "cause": map[string]any{"code": "CBN-API-001", "text": "no component of that name", "chain": []any{}, "fix": ""}})
			return
		}
		one["detail"] = json.RawMessage(strings.ReplaceAll(apiDetail, "$NAME", r.PathValue("name")))
		answer(w, http.StatusOK, one)
	})
	// The diagnosis carries the cause that the list has.
	mux.HandleFunc("GET /api/components/{name}/diag", func(w http.ResponseWriter, r *http.Request) {
		one := map[string]any{}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(apiDiag, "$NAME", r.PathValue("name"))), &one); err != nil {
			panic(err)
		}
		maps.Copy(one, find(r.PathValue("name")))
		answer(w, http.StatusOK, one)
	})
}
