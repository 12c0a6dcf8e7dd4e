package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The script copies all events, seven times, and says in every row how many events it saw: a result is whole if it has seven times
// as many rows as each of its rows says.
const (
	overwriteScript = `<Analytics>
  <Name>crash_copy</Name>
  <Script><![CDATA[
CREATE TEMPORARY TABLE events USING CarbonAnalytics OPTIONS (tableName "CRASH_EVENTS", schema "n LONG, part INT");
CREATE TEMPORARY TABLE target USING CarbonAnalytics OPTIONS (tableName "CRASH_TARGET", schema "seen LONG, part INT, n LONG");
INSERT OVERWRITE TABLE target
  SELECT s.seen, p.part, e.n FROM events e
  CROSS JOIN (SELECT count(*) AS seen FROM events) s
  CROSS JOIN (SELECT DISTINCT part FROM events) p;
]]></Script>
  <CronExpression>0/2 * * * * ?</CronExpression>
</Analytics>`
	wholeQuery = "SELECT count(*), count(DISTINCT seen), min(seen), max(n), sum(n) FROM CRASH_TARGET"
	copies     = 7
)

type run struct {
	ID, State, Trigger string
	Started, Ended     string
	Cause              *causeLine
}

// runs is the history of the script, newest first.
func (l *lab) runs() ([]run, error) {
	out, errs, code := l.cli("script", "history", "crash_copy", "-o", "json", "-n", "200")
	if code != 0 {
		return nil, fmt.Errorf("script history: exit code %d: %s", code, errs)
	}
	var list []run
	return list, json.Unmarshal([]byte(out), &list)
}

// whole says what is wrong with a result.
func whole(row []int64) error {
	n := row[2]
	if row[1] != 1 || row[0] != copies*n || row[3] != n || row[4] != copies*n*(n+1)/2 {
		return fmt.Errorf("%d rows of %d results, of %d events up to %d with sum %d", row[0], row[1], n, row[3], row[4])
	}
	return nil
}

// TestKillDuringOverwrite: engine, store and scheduler are killed while an INSERT OVERWRITE runs. Readers always see one whole
// result, the history tells what became of each run, the next runs succeed, and no staged file stays.
func TestKillDuringOverwrite(t *testing.T) {
	random := seeded(t)
	l := install(t)
	l.write("conf/components/DataService.yaml", "graceSeconds: 1\n")
	l.start()
	l.stream()
	x := l.agentLoad()
	x.moved(15000)
	l.write("deployment/server/sparkscripts/crash_copy.xml", overwriteScript)
	l.succeeded(time.Time{})
	reader := l.readWhole()
	order := []string{"AnalyticsEngine", "DataService", "AnalyticsExecution", "AnalyticsEngine", "DataService", "AnalyticsEngine"}
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var last time.Time
	for _, victim := range order {
		l.wait("a run", func() error {
			list, err := l.runs()
			if err == nil && (len(list) == 0 || list[0].State != "RUNNING") {
				err = errors.New("none is under way")
			}
			return err
		})
		// Anywhere in the run: this is the point of the crash, nothing waits for it.
		<-time.After(time.Duration(random.Int64N(int64(250 * time.Millisecond))))
		l.kill9(victim)
		last = time.Now()
		t.Logf("kill -9 %s during a run", victim)
		l.wait("all components to be back", l.notActive)
	}
	l.succeeded(last)
	reader()
	l.checkHistory()
	n := x.settle()
	l.wait("a result of all events", func() error {
		row, err := l.query(wholeQuery)
		if err != nil {
			return err
		}
		if err := whole(row); err != nil {
			t.Fatal(err)
		}
		if row[2] != n {
			return fmt.Errorf("it is of %d events, there are %d", row[2], n)
		}
		return nil
	})
	l.exactly(n)
	// Without the script nothing stages any more; what crashed runs staged goes, and so do the results that were replaced.
	if err := os.Remove(filepath.Join(l.home, "repository/deployment/server/sparkscripts/crash_copy.xml")); err != nil {
		t.Fatal(err)
	}
	l.noGarbage()
	l.stop()
}

// succeeded waits for a run by the schedule that began after a time and succeeded.
func (l *lab) succeeded(after time.Time) {
	l.t.Helper()
	l.wait("a scheduled run to succeed", func() error {
		list, err := l.runs()
		if err != nil {
			return err
		}
		for _, r := range list {
			began, err := time.Parse(time.RFC3339, r.Started)
			if err == nil && began.After(after) && r.State == "SUCCEEDED" && r.Trigger == "schedule" {
				return nil
			}
		}
		return fmt.Errorf("none in %+v", list[:min(3, len(list))])
	})
}

// readWhole reads the target again and again beside the kills. The function that it answers ends that, and fails if a reader ever
// saw anything but one whole result.
func (l *lab) readWhole() func() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan []string, 1)
	go func() {
		var wrong []string
		reads := 0
		for ctx.Err() == nil {
			row, err := l.query(wholeQuery)
			if err != nil {
				continue // the engine or the store has just been killed
			}
			reads++
			if err := whole(row); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
		if reads < 5 {
			wrong = append(wrong, fmt.Sprintf("only %d reads had an answer", reads))
		}
		ended <- wrong
	}()
	l.t.Cleanup(cancel)
	return func() {
		l.t.Helper()
		cancel()
		if wrong := <-ended; len(wrong) > 0 {
			l.t.Errorf("%d readers saw no whole result: %s", len(wrong), strings.Join(wrong[:min(5, len(wrong))], "; "))
		}
	}
}

// checkHistory wants every run ended, in success or with a coded cause.
func (l *lab) checkHistory() {
	l.t.Helper()
	list, err := l.runs()
	if err != nil {
		l.t.Fatal(err)
	}
	states := map[string]int{}
	for i, r := range list {
		states[r.State]++
		switch {
		case r.State == "SUCCEEDED" || r.State == "RUNNING" && i == 0:
		case r.State == "RUNNING" || r.Cause == nil || !strings.HasPrefix(r.Cause.Code, "CBN-"):
			l.t.Errorf("run %s of %s is %s with cause %q", r.ID, r.Started, r.State, r.Cause)
		default:
			l.t.Logf("%s: %s", r.State, r.Cause)
		}
	}
	l.t.Logf("runs: %v", states)
}

// noGarbage waits until staging and spill folders are empty and the target has the files of one result.
func (l *lab) noGarbage() {
	l.t.Helper()
	l.wait("staging and spill folders to be empty", func() error {
		for _, folder := range []string{"DataService/staging", "AnalyticsEngine/spill"} {
			files := l.files(folder)
			// The engine's statement folders are made at its start, empty.
			if len(files) > 0 {
				return fmt.Errorf("%s holds %v", folder, files)
			}
		}
		return nil
	})
	l.wait("the files of replaced results to go", func() error {
		files := l.files("DataService/segments")
		targets := slices.DeleteFunc(files, func(f string) bool { return !strings.Contains(f, "/CRASH_TARGET-") })
		if len(targets) != 1 {
			return fmt.Errorf("%d files: %v", len(targets), targets)
		}
		return nil
	})
}

// files are the regular files below a folder of repository/data.
func (l *lab) files(folder string) []string {
	l.t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join(l.home, "repository/data", folder), func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && e.Type().IsRegular() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}
