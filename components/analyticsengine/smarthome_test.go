package analyticsengine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/components/analyticsexecution"
	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	"carbonado.dev/sdk/sdktest"
)

// readings are the Smart Home events of the tests.
const readings = `CREATE TEMPORARY TABLE r USING CarbonAnalytics OPTIONS (tableName "ORG_WSO2_DAS_SAMPLE_SMART_HOME_DATA", recordStore "EVENT_STORE",
	schema "house_id INT, metro_area STRING, state STRING, device_id INT, power_reading FLOAT, is_peak BOOLEAN, _timestamp LONG");
	INSERT INTO r SELECT 1, 'Seattle', 'WA', 1, 100, true, %[1]d UNION ALL SELECT 1, 'Seattle', 'WA', 2, 300, true, %[1]d
	UNION ALL SELECT 2, 'Seattle', 'WA', 1, 500, false, %[1]d UNION ALL SELECT 3, 'Austin', 'TX', 1, 50, true, %[1]d`

func (w *world) withScripts(config map[string]any) (*sdktest.Component, analyticsv1.ScriptsClient) {
	w.t.Helper()
	c := w.k.Start(analyticsexecution.Start, sdktest.WithDescriptor("../analyticsexecution/component.yaml"), sdktest.WithConfig(config))
	return c, analyticsv1.NewScriptsClient(c.Conn(analyticsv1.Scripts_ServiceDesc.ServiceName))
}

func TestSmartHomeScript(t *testing.T) {
	w := newWorld(t, map[string]any{"timeZone": "UTC"})
	c, scripts := w.withScripts(map[string]any{"timeZone": "UTC"})
	const minute = 26_700_000 // since 1970
	w.must(fmt.Sprintf(readings, minute*60000+1000))
	text, err := os.ReadFile("../../repository/deployment/server/sparkscripts/smart_home.xml")
	if err != nil {
		t.Fatal(err)
	}
	w.k.MustDeploy("sparkscripts/smart_home.xml", string(text))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := func() {
		t.Helper()
		for {
			resp, err := scripts.Run(ctx, &analyticsv1.RunScriptRequest{Tenant: tenant, Name: "smart_home", RequestedBy: "ann"})
			if strings.Contains(fmt.Sprint(err), "CBN-SCR-004") {
				continue // its own schedule has it
			}
			if err != nil {
				t.Fatal(err)
			}
			if resp.Run.State != "SUCCEEDED" || resp.Run.Statements != 13 {
				t.Fatalf("run %+v", resp.Run)
			}
			return
		}
	}
	run()
	check := func(want [5]string) {
		t.Helper()
		for i, q := range []string{
			"SELECT metro_area, avg_usage, min_usage, max_usage FROM CITY_USAGE ORDER BY metro_area",
			"SELECT house_id, usage_range FROM PEAK_DEVICE_USAGE_RANGE ORDER BY house_id",
			"SELECT state, state_avg_usage FROM STATE_AVG_USAGE ORDER BY state",
			"SELECT state, usage_difference, state_avg, overall_avg FROM STATE_USAGE_DIFFERENCE ORDER BY state",
			"SELECT house_id, minute_start / 60000, readings, avg_usage, max_usage FROM HOUSE_USAGE_PER_MINUTE ORDER BY minute_start, house_id",
		} {
			w.expect(q, want[i])
		}
	}
	check([5]string{"Austin|50|50|50\nSeattle|300|100|500", "1|200", "TX|50\nWA|300", "TX|-187.5|50|237.5\nWA|62.5|300|237.5",
		"1|2.67e+07|2|200|300\n2|2.67e+07|1|500|500\n3|2.67e+07|1|50|50"})
	// The next minute: the last one is read again and replaced, not doubled.
	w.must(fmt.Sprintf(strings.Split(readings, "INSERT")[0]+"INSERT INTO r SELECT 3, 'Austin', 'TX', 2, 150, true, %d UNION ALL SELECT 3, 'Austin', 'TX', 2, 250, true, %d",
		minute*60000+59000, (minute+1)*60000))
	run()
	check([5]string{"Austin|150|50|250\nSeattle|300|100|500", "1|200", "TX|150\nWA|300", "TX|-75|150|225\nWA|75|300|225",
		"1|2.67e+07|2|200|300\n2|2.67e+07|1|500|500\n3|2.67e+07|2|100|150\n3|2.6700001e+07|1|250|250"})
	resp, err := c.HTTP(sdktest.Admin()).Get("https://node/scripts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list []struct {
		Name, Cron, Next string
		Last             struct{ State, Trigger string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "smart_home" || list[0].Cron != "0/15 * * * * ?" || list[0].Next == "" || list[0].Last.State == "" {
		t.Errorf("list %+v", list)
	}
}

func TestAScriptWithASyntaxErrorIsFaulty(t *testing.T) {
	w := newWorld(t, nil)
	_, scripts := w.withScripts(nil)
	const file = "<Analytics>\n  <Script>\n    SELECT 1;\n    SELECT FROM nowhere\n  </Script>\n</Analytics>"
	state, why := w.k.Deploy("sparkscripts/bad.xml", file)
	if state != controlv1.DeployResponse_STATE_FAULTY || why.Code != "CBN-SQL-001" || why.Line != 4 || why.Column != 12 || !strings.HasSuffix(why.File, "sparkscripts/bad.xml") {
		t.Errorf("%v %+v", state, why)
	}
	if resp, err := scripts.List(t.Context(), &analyticsv1.ListScriptsRequest{Tenant: tenant}); err != nil || len(resp.Scripts) != 0 {
		t.Errorf("something is left: %+v, %v", resp, err)
	}
	// The last good one keeps running when its file goes bad.
	w.k.MustDeploy("sparkscripts/good.xml", "<Analytics><Script>SELECT 1</Script></Analytics>")
	if state, _ = w.k.Deploy("sparkscripts/good.xml", "<Analytics><Script>SELEC 1</Script></Analytics>"); state != controlv1.DeployResponse_STATE_FAULTY {
		t.Errorf("%v", state)
	}
	r, err := scripts.Run(t.Context(), &analyticsv1.RunScriptRequest{Tenant: tenant, Name: "good"})
	if err != nil || r.Run.State != "SUCCEEDED" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestScriptsByAPI(t *testing.T) {
	w := newWorld(t, nil)
	c, scripts := w.withScripts(nil)
	do := func(method, path, body string, want int, contains string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://node/scripts"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.HTTP(sdktest.Admin()).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		if _, err := fmt.Fprint(&b, readAll(t, resp.Body)); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want || !strings.Contains(b.String(), contains) {
			t.Errorf("%s %s gives %d %s, want %d %s", method, path, resp.StatusCode, b.String(), want, contains)
		}
	}
	do("PUT", "/mine", `{"script": "SELECT 'a' AS x;\nSELECT 2", "cron": "0 0 0 1 1 ?"}`, 200, `"cron":"0 0 0 1 1 ?"`)
	do("GET", "/mine", "", 200, `"script":"SELECT 'a' AS x;\nSELECT 2"`)
	do("PUT", "/mine", `{"script": "SELECT 3", "cron": "DEFAULT"}`, 200, `"cron":"0 0 0 1 1 ?"`)
	do("PUT", "/mine", `{"script": "SELECT\n FROM x"}`, 400, `"line":2,"column":2`)
	do("PUT", "/mine", `{"script": "SELECT 1", "cron": "0 0 0 * * *"}`, 400, "CBN-SCR-001")
	do("PUT", "/..%2fx", `{"script": "SELECT 1"}`, 400, "CBN-SCR-010")
	do("POST", "/mine/run", "", 200, `"state":"SUCCEEDED","trigger":"admin","statements":1`)
	do("GET", "/mine/history?limit=5", "", 200, `"state":"SUCCEEDED"`)
	do("GET", "/-/history", "", 200, `"script":"mine"`)
	do("GET", "/mine/next?count=2", "", 200, `-01-01T00:00:00`)
	do("GET", "/-/next?cron=0+0+0+30+2+%3F", "", 200, `"never":true`)
	do("GET", "/-/next?cron=0+0", "", 400, "CBN-SCR-001")
	do("GET", "/nobody", "", 404, "CBN-SCR-003")
	do("POST", "/mine/cancel", "", 200, `"cancelled":false`)
	do("DELETE", "/mine", "", 200, "true")
	do("GET", "/mine", "", 404, "CBN-SCR-003")
	w.k.MustDeploy("sparkscripts/fixed.xml", "<Analytics><Script>SELECT 1</Script><Editable>false</Editable></Analytics>")
	do("PUT", "/fixed", `{"script": "SELECT 2"}`, 422, "CBN-SCR-009")
	do("DELETE", "/fixed", "", 422, "CBN-SCR-009")
	// A run that fails says where.
	w.k.MustDeploy("sparkscripts/fails.xml", "<Analytics>\n<Script>SELECT 1;\nSELECT * FROM nowhere</Script></Analytics>")
	r, err := scripts.Run(t.Context(), &analyticsv1.RunScriptRequest{Tenant: tenant, Name: "fails"})
	if err != nil {
		t.Fatal(err)
	}
	if x := r.Run.Cause; r.Run.State != "FAILED" || x.Code != "CBN-SQL-022" || x.Line != 3 || x.Column != 15 || r.Run.Statements != 1 {
		t.Errorf("%+v", r.Run)
	}
	if _, err := scripts.Get(t.Context(), &analyticsv1.GetScriptRequest{Tenant: 5, Name: "fails"}); !strings.Contains(cause.From(err).Error(), "CBN-SCR-008") {
		t.Errorf("tenant 5: %v", err)
	}
}
