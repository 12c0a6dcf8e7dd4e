package analyticsexecution

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slow is an executor whose runs take a time; it notes when they begin.
type slow struct {
	takes   time.Duration
	mu      sync.Mutex // guards away
	away    error
	claimed bool
	began   []time.Time
	fires   []time.Time
	keys    []string
}

func (s *slow) ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

func (s *slow) run(ctx context.Context, _ *definition, key string, fire time.Time, started func()) (outcome, error) {
	if s.claimed {
		return outcome{}, errClaimed
	}
	s.began = append(s.began, time.Now())
	s.fires = append(s.fires, fire)
	s.keys = append(s.keys, key)
	started()
	select {
	case <-time.After(s.takes):
		return outcome{statements: 2, rowsWritten: 7}, nil
	case <-ctx.Done():
		return outcome{statements: 1}, context.Cause(ctx)
	}
}

func scheduleOf(t *testing.T, exec executor, path string) *Service {
	t.Helper()
	s := &Service{
		log: hclog.NewNullLogger(), tenantID: -1234, exec: exec, zone: time.UTC, longest: time.Hour, keep: 50,
		scripts: map[string]*script{}, wake: make(chan struct{}, 1),
	}
	h, err := openHistory(path, s.keep)
	if err != nil {
		t.Fatal(err)
	}
	s.start(h)
	return s
}

func end(t *testing.T, s *Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.release(ctx); err != nil {
		t.Error(err)
	}
}

func file(t *testing.T, name, cron string) *definition {
	t.Helper()
	d, err := readFile(name, "deployment/server/sparkscripts/"+name+".xml", writeFile(name, "SELECT 1", cron))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func states(s *Service, name string) string {
	var out []string
	for _, r := range s.hist.list(name, 0) {
		out = append(out, r.State)
	}
	return strings.Join(out, " ")
}

func TestFiresOnTimeAndNeverOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exec := &slow{takes: 40 * time.Second}
		s := scheduleOf(t, exec, filepath.Join(t.TempDir(), "runs.jsonl"))
		begin := time.Now()
		s.add(file(t, "a", "0/15 * * * * ?"))
		time.Sleep(2*time.Minute + time.Second)
		end(t, s)
		// Runs take 40 s: of the times at 15, 30, 45 … only every third is free.
		var got []string
		for _, at := range exec.began {
			got = append(got, at.Sub(begin).String())
		}
		if want := "[15s 1m0s 1m45s]"; fmt.Sprint(got) != want {
			t.Errorf("runs began after %v, want %s", got, want)
		}
		if want := "SKIPPED SUCCEEDED SKIPPED SUCCEEDED SKIPPED SUCCEEDED"; states(s, "a") != want {
			t.Errorf("history is %s", states(s, "a"))
		}
		if exec.keys[0] == exec.keys[1] || !strings.HasPrefix(exec.keys[0], "script:a/2000-01-01T00:00:15Z") {
			t.Errorf("keys %v", exec.keys)
		}
	})
}

func TestMissedTimesAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "runs.jsonl")
		exec := &slow{takes: time.Second}
		s := scheduleOf(t, exec, path)
		s.add(file(t, "a", "0 0/10 * * * ?"))
		time.Sleep(10*time.Minute + 30*time.Second)
		end(t, s)
		time.Sleep(3 * time.Hour)
		again := &slow{takes: time.Second}
		s = scheduleOf(t, again, path)
		s.add(file(t, "a", "0 0/10 * * * ?"))
		time.Sleep(10 * time.Minute)
		end(t, s)
		if len(exec.began) != 1 || len(again.began) != 1 {
			t.Errorf("%d runs before and %d after, want 1 and 1", len(exec.began), len(again.began))
		}
		if got := states(s, "a"); got != "SUCCEEDED SUCCEEDED" {
			t.Errorf("history is %s", got)
		}
	})
}

func TestAnEngineThatIsAwayIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exec := &slow{away: ErrNoEngine.New("away")}
		s := scheduleOf(t, exec, filepath.Join(t.TempDir(), "runs.jsonl"))
		s.add(file(t, "a", "0/1 * * * * ?"))
		time.Sleep(time.Hour - 500*time.Millisecond)
		synctest.Wait()
		exec.mu.Lock()
		exec.away = nil
		exec.mu.Unlock()
		time.Sleep(time.Second)
		end(t, s)
		if got := states(s, "a"); got != "SUCCEEDED SKIPPED" {
			t.Errorf("history is %s", got)
		}
		if c := s.hist.list("a", 0)[1].Cause; c.GetCode() != ErrNoEngine.ID() {
			t.Errorf("cause %v", c)
		}
	})
}

func TestATimeThatAnotherNodeRanLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scheduleOf(t, &slow{claimed: true}, filepath.Join(t.TempDir(), "runs.jsonl"))
		s.add(file(t, "a", "0/1 * * * * ?"))
		time.Sleep(time.Minute)
		end(t, s)
		if got := states(s, "a"); got != "" {
			t.Errorf("history is %s", got)
		}
	})
}

func TestCancelRunNowAndDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exec := &slow{takes: time.Hour}
		s := scheduleOf(t, exec, filepath.Join(t.TempDir(), "runs.jsonl"))
		defer end(t, s)
		d := file(t, "a", "")
		s.add(d)
		h, err := s.runNow("a", "ann")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := s.runNow("a", "bob"); !errors.Is(err, ErrRunning) {
			t.Errorf("second run: %v", err)
		}
		resp, err := s.Cancel(context.Background(), &analyticsv1.CancelScriptRequest{Tenant: -1234, Name: "a"})
		if err != nil || !resp.Cancelled {
			t.Fatalf("cancel: %v, %v", resp, err)
		}
		<-h.done
		if h.run.State != stateCancelled || h.run.Trigger != "ann" || h.run.Statements != 1 {
			t.Errorf("run %+v", h.run)
		}
		synctest.Wait()
		if h, err = s.runNow("a", ""); err != nil {
			t.Fatal(err)
		}
		s.remove(d.path)
		<-h.done
		if h.run.State != stateCancelled {
			t.Errorf("run of a deleted script %+v", h.run)
		}
		if _, err := s.runNow("a", ""); !errors.Is(err, ErrNoScript) {
			t.Errorf("deleted script: %v", err)
		}
	})
}

func TestDrainWaitsThenCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			takes time.Duration
			state string
		}{{5 * time.Second, stateSucceeded}, {time.Hour, stateFailed}} {
			s := scheduleOf(t, &slow{takes: test.takes}, filepath.Join(t.TempDir(), "runs.jsonl"))
			s.add(file(t, "a", ""))
			h, err := s.runNow("a", "")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if err := s.drain(ctx); err != nil {
				t.Error(err)
			}
			<-h.done
			if h.run.State != test.state {
				t.Errorf("a run of %s ends %s", test.takes, h.run.State)
			}
			if _, err := s.runNow("a", ""); !errors.Is(err, ErrStopping) {
				t.Errorf("run after drain: %v", err)
			}
			cancel()
			end(t, s)
		}
	})
}

func TestUpdateKeepsTheScheduleOnDEFAULT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scheduleOf(t, &slow{}, filepath.Join(t.TempDir(), "runs.jsonl"))
		defer end(t, s)
		s.add(file(t, "a", "0 0 0 1 1 ?"))
		s.add(file(t, "a", keepCron))
		got, err := s.Get(context.Background(), &analyticsv1.GetScriptRequest{Tenant: -1234, Name: "a"})
		if err != nil || got.Script.Cron != "0 0 0 1 1 ?" || got.Script.NextUnixMs != time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestHistorySurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	h, err := openHistory(path, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		run := &analyticsv1.ScriptRun{RunId: fmt.Sprint(i), Script: "a", StartedUnixMs: int64(i), State: stateRunning}
		if err := h.put(run); err != nil {
			t.Fatal(err)
		}
		if i < 5 {
			if err := h.put(&analyticsv1.ScriptRun{RunId: fmt.Sprint(i), Script: "a", StartedUnixMs: int64(i), State: stateSucceeded}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The process is killed here, in the middle of a line.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"runId":"6","script":"a","sta`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if h, err = openHistory(path, 3); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range h.list("", 0) {
			got = append(got, r.RunId+" "+r.State+" "+r.Cause.GetCode())
		}
		if want := "[5 FAILED CBN-SCR-006 4 SUCCEEDED  3 SUCCEEDED ]"; fmt.Sprint(got) != want {
			t.Errorf("after the kill %v, want %s", got, want)
		}
		if err := h.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles(t *testing.T) {
	d, err := readFile("a", "p/a.xml", []byte("<Analytics>\n  <Name>other</Name>\n  <Script>\n    SELECT 1;\n    SELEC 2\n  </Script>\n  <CronExpression> 0 0 * * * ? </CronExpression>\n  <Editable>false</Editable>\n</Analytics>"))
	if err != nil {
		t.Fatal(err)
	}
	if d.name != "a" || d.text != "SELECT 1;\n    SELEC 2" || d.cron != "0 0 * * * ?" || d.editable {
		t.Errorf("%+v", d)
	}
	for _, test := range []struct {
		line, column int
		want         string
	}{{1, 1, "p/a.xml:4:5"}, {2, 5, "p/a.xml:5:5"}, {0, 0, "p/a.xml:4:5"}} {
		if err := d.place(ErrLost.New("x").At("", test.line, test.column)); !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d:%d is put to %v, want %s", test.line, test.column, err, test.want)
		}
	}
	for _, test := range []struct{ content, want string }{
		{"<!DOCTYPE x><Analytics/>", "a.xml:1:1"},
		{"<Script/>", "the root is Script"},
		{"<Analytics><Script> </Script></Analytics>", "the element Script is missing or empty"},
		{"<Analytics><Script>x</Script><Sript>y</Sript></Analytics>", "unknown element Sript"},
		{"<Analytics><Script>x</Script><Script>y</Script></Analytics>", "element Script stands twice"},
		{"<Analytics>\n<Script>x</Script>\n<CronExpression>0 0 * * 13 ?</CronExpression></Analytics>", "a.xml:3:25: 13 is no value of month"},
		{"<Analytics><Script>x</Script><Editable>perhaps</Editable></Analytics>", "Editable must be true or false"},
		{"<Analytics><Script>x</Script></Analytics><Analytics/>", "a.xml:1:42"},
	} {
		_, err := readFile("a", "a.xml", []byte(test.content))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gives %v, want %s", test.content, err, test.want)
		}
	}
	if _, err := readFile("../a", "x", nil); !errors.Is(err, ErrName) {
		t.Errorf("name: %v", err)
	}
	text := "SELECT ']]>' AS a, '<&>' AS b;\n\nSELECT 2"
	if d, err := readFile("a", "", writeFile("a", text, "0 0 0 ? * MON")); err != nil || d.text != text || d.cron != "0 0 0 ? * MON" {
		t.Errorf("written and read: %+v, %v", d, err)
	}
}
