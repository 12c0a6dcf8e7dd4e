package deploy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCase49FaultyKeepsTheLastGood(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.replace("streams/a.json", content("one", "bad"))
		w.pass(settleTime)
		a := w.wantState("streams/a.json", Faulty)
		if a.Cause.GetLine() != 3 || a.Cause.GetFile() != a.Path || a.Revision != 2 || a.Running != digestOf([]byte(v1)) {
			t.Errorf("%s", describe(a))
		}
		w.wantRunning(map[string]string{"a.json": v1})

		w.pass(5 * time.Minute) // no hot retries
		w.wantCalls("deploy streams/a.json")

		// The owner's new process gets the last good content.
		w.owner.restart()
		w.setOwner(2)
		w.pass(settleTime)
		w.wantCalls("deploy streams/a.json")
		w.wantRunning(map[string]string{"a.json": v1})
		w.wantState("streams/a.json", Faulty)

		// So does one after a restart of the kernel.
		w.stop()
		w.owner.restart()
		w.start()
		w.pass(settleTime)
		w.wantRunning(map[string]string{"a.json": v1})
		if a := w.wantState("streams/a.json", Faulty); a.Revision != 2 {
			t.Errorf("revision %d", a.Revision)
		}

		w.replace("streams/a.json", v2)
		w.pass(settleTime)
		if a := w.wantState("streams/a.json", Deployed); a.Revision != 3 || a.Cause != nil || a.Running != a.Digest {
			t.Errorf("%s", describe(a))
		}
		w.wantRunning(map[string]string{"a.json": v2})
	})
}

func TestRevertingAFaultyFileNeedsNoCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.replace("streams/a.json", content("bad"))
		w.pass(settleTime)
		w.wantState("streams/a.json", Faulty)
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.wantState("streams/a.json", Deployed)
		w.wantCalls("deploy streams/a.json")
	})
}

func TestCase55RestartOfTheKernel(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/changed.json", v1)
		w.replace("streams/gone.json", v1)
		w.replace("streams/same.json", v1)
		w.replace("streams/unsettled.json", v1)
		w.pass(settleTime)
		w.stop()
		w.calls()
		last := slices.Max(w.owner.txs)
		w.bell = nil
		w.owner.restart()
		w.remove("streams/gone.json")
		w.replace("streams/changed.json", v2)
		f := w.create("streams/unsettled.json") // somebody is writing it while the kernel starts
		defer f.Close()
		w.start()
		w.pass(settleTime)
		// What is too young to be trusted at the first look runs as it was until it has settled.
		w.wantCalls("undeploy streams/gone.json", "deploy streams/changed.json", "deploy streams/same.json",
			"deploy streams/unsettled.json", "update streams/changed.json")
		w.wantRunning(map[string]string{"changed.json": v2, "same.json": v1, "unsettled.json": v1})
		if got := w.get("streams/changed.json").Revision; got != 2 {
			t.Errorf("revision %d", got)
		}
		if first := w.owner.txs[len(w.owner.txs)-1]; first <= last {
			t.Errorf("transaction %d after %d", first, last)
		}
	})
}

func TestFirstLookTakesOldFilesAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v1), 0o644))
		w.bell = &fakeBell{rings: make(chan struct{}, 1), known: map[string]bool{}}
		s, err := New(Options{
			Repository: w.home, Data: filepath.Join(w.home, "data"), Deployers: w, Bell: w.bell,
			Now: func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }, // the files are old
		})
		w.check(err)
		ctx, cancel := context.WithCancel(w.t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		<-s.Scanned()
		w.wantRunning(map[string]string{"a.json": v1})
		cancel()
		w.check(<-done)
	})
}

func TestOwnerAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setOwner(0)
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		a := w.wantState("streams/a.json", Pending)
		if a.Cause.GetCode() != ErrOwnerAway.ID() || len(a.Cause.Chain) != 1 || a.Cause.Chain[0].Code != "CBN-SUP-001" || a.Owner != "Streams" {
			t.Errorf("%s", describe(a))
		}
		w.setOwner(1)
		w.pass(0)
		w.wantCalls("deploy streams/a.json")
		w.wantState("streams/a.json", Deployed)

		w.setOwner(0)
		w.pass(0)
		if a := w.wantState("streams/a.json", Pending); a.Running != "" {
			t.Errorf("%s", describe(a))
		}
		w.remove("streams/a.json")
		w.pass(settleTime)
		if n := len(w.service.List("")); n != 0 {
			t.Errorf("%d artifacts listed", n)
		}
		w.setOwner(2)
		w.pass(0)
		w.wantCalls("undeploy streams/a.json")
	})
}

func TestCase51TypeInstalledLater(t *testing.T) {
	inWorld(t, func(w *world) {
		owners := w.Owners()
		w.owners = nil
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.wantState("streams/a.json", Pending)
		w.mu.Lock()
		w.owners = owners
		w.mu.Unlock()
		w.service.Ring()
		w.pass(settleTime)
		w.wantState("streams/a.json", Deployed)
	})
}

func TestWaiting(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", content("wait stream:c", "offer stream:a"))
		w.replace("streams/b.json", content("wait stream:a"))
		w.pass(settleTime)
		a := w.wantState("streams/a.json", Waiting)
		if a.Cause.GetCode() != ErrWaits.ID() || !strings.Contains(a.Cause.GetText(), "stream:c") || !slices.Equal(a.WaitsFor, []string{"stream:c"}) {
			t.Errorf("%s", describe(a))
		}
		w.wantState("streams/b.json", Waiting)
		w.wantRunning(map[string]string{})

		// One batch follows the whole chain.
		w.replace("streams/z.json", content("offer stream:c"))
		w.pass(800 * time.Millisecond)
		for _, n := range []string{"streams/a.json", "streams/b.json", "streams/z.json"} {
			w.wantState(n, Deployed)
		}

		// What stands on something that goes says so.
		w.remove("streams/z.json")
		w.pass(settleTime)
		w.wantState("streams/a.json", Waiting)
	})
}

func TestWaitingIsTriedAgainWhenTheOwnerRestarts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", content("wait stream:x"))
		w.pass(settleTime)
		w.wantState("streams/a.json", Waiting)
		w.owner.mu.Lock()
		w.owner.calls = nil
		w.owner.mu.Unlock()
		w.pass(time.Minute)
		if len(w.owner.calls) != 0 {
			t.Errorf("tried while nothing changed: %q", w.owner.calls)
		}
		w.owner.restart()
		w.owner.offers["stream:x"] = "built in"
		w.setOwner(2)
		w.pass(0)
		w.wantState("streams/a.json", Deployed)
	})
}

// Services are waited for like artifacts, come and go.
func TestWaitingForAService(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", content("wait service:acme.Adapter?type=http"))
		w.pass(settleTime)
		w.wantState("streams/a.json", Waiting)
		provide := func(names ...string) {
			w.owner.mu.Lock()
			delete(w.owner.offers, "service:acme.Adapter?type=http")
			for _, n := range names {
				w.owner.offers[n] = "elsewhere"
			}
			w.owner.mu.Unlock()
			w.service.Provide(names)
			w.pass(0)
		}
		provide("service:acme.Adapter", "service:acme.Adapter?type=kafka")
		w.wantState("streams/a.json", Waiting)
		provide("service:acme.Adapter", "service:acme.Adapter?type=http")
		w.wantState("streams/a.json", Deployed)
		provide()
		w.wantState("streams/a.json", Waiting)
		provide("service:acme.Adapter?type=http")
		w.wantState("streams/a.json", Deployed)
	})
}

func TestFreedNameWakesTheRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", content("offer id"))
		w.pass(settleTime)
		w.replace("streams/b.json", content("offer id", "from b"))
		w.pass(settleTime)
		if a := w.wantState("streams/b.json", Faulty); !strings.Contains(a.Cause.GetText(), "held by") {
			t.Errorf("%s", describe(a))
		}
		w.remove("streams/a.json")
		w.pass(settleTime)
		w.wantState("streams/b.json", Deployed)
		// A shift of names within one batch: b gives id to c.
		w.replace("streams/a.json", content("offer id"))
		w.replace("streams/b.json", content("offer other"))
		w.pass(settleTime)
		w.wantState("streams/a.json", Deployed)
		w.wantState("streams/b.json", Deployed)
	})
}

func TestOwnerThatDiesIsNotBlamedAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.owner.mu.Lock()
		w.owner.away = true
		w.owner.mu.Unlock()
		w.replace("streams/a.json", v1)
		w.pass(800 * time.Millisecond)
		if a := w.wantState("streams/a.json", Pending); a.Cause.GetCode() != ErrOwnerAway.ID() {
			t.Errorf("%s", describe(a))
		}
		w.owner.restart()
		w.setOwner(2)
		w.pass(0)
		w.wantState("streams/a.json", Deployed)
	})
}

func TestCase52ContentThatKillsItsOwnerIsGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.owner.mu.Lock()
		w.owner.crashOn = "poison"
		w.owner.mu.Unlock()
		w.replace("streams/a.json", content("poison"))
		for generation := uint64(2); generation < 6; generation++ {
			w.pass(time.Second)
			w.owner.restart()
			w.setOwner(generation)
		}
		w.pass(settleTime)
		if a := w.wantState("streams/a.json", Faulty); a.Cause.GetCode() != ErrOwnerBroke.ID() {
			t.Errorf("%s", describe(a))
		}
		w.wantRunning(map[string]string{"a.json": v1})
		w.calls()
		w.pass(5 * time.Minute)
		w.wantCalls()
		w.replace("streams/a.json", v2)
		w.pass(settleTime)
		w.wantRunning(map[string]string{"a.json": v2})
	})
}

func TestHangingOwnerIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.owner.mu.Lock()
		w.owner.away = true
		w.owner.mu.Unlock()
		for i := range 50 {
			w.replace("streams/"+string(rune('a'+i%26))+strings.Repeat("x", i/26)+".json", v1)
		}
		w.pass(800 * time.Millisecond)
		w.owner.mu.Lock()
		n := len(w.owner.calls)
		w.owner.mu.Unlock()
		if n != 1 {
			t.Errorf("%d calls of an owner that does not answer", n)
		}
	})
}

func TestKeptContentsAreDroppedWithTheirFiles(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		for _, c := range []string{v1, v2, content("three")} {
			w.replace("streams/a.json", c)
			w.pass(settleTime)
		}
		w.replace("streams/b.json", content("bad"))
		w.pass(settleTime)
		count := func() int {
			list, err := os.ReadDir(filepath.Join(w.home, "data/kernel/artifacts/blobs"))
			w.check(err)
			return len(list)
		}
		if n := count(); n != 2 {
			t.Errorf("%d contents kept", n)
		}
		w.remove("streams/a.json")
		w.remove("streams/b.json")
		w.pass(settleTime)
		if n := count(); n != 0 {
			t.Errorf("%d contents kept", n)
		}
	})
}

func TestLostBlobIsReadAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setOwner(0)
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.check(os.Remove(filepath.Join(w.home, "data/kernel/artifacts/blobs", digestOf([]byte(v1)))))
		w.setOwner(1)
		w.pass(settleTime)
		w.wantState("streams/a.json", Deployed)
	})
}

func TestPollingWhereNothingRings(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.bell.mu.Lock()
		w.bell.broken = errors.New("too many open files")
		w.bell.mu.Unlock()
		w.event("x", true)
		w.pass(settleTime)
		w.check(os.WriteFile(w.abs("streams/a.json"), []byte(v1), 0o644))
		w.pass(4 * time.Second)
		w.wantState("streams/a.json", Deployed)
	})
}

func TestOnChangeTellsEachStepOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.remove("streams/a.json")
		w.pass(time.Minute)
		var states []State
		w.mu.Lock()
		for _, a := range w.changes {
			states = append(states, a.State)
		}
		w.mu.Unlock()
		if want := []State{Pending, Deployed, Gone}; !slices.Equal(states, want) {
			t.Errorf("told %q, want %q", states, want)
		}
	})
}

func TestPutAndRemove(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		server := NewServer(w.service)
		put := func(text string, createOnly bool) (*kernelv1.ArtifactInfo, error) {
			r, err := server.Put(w.t.Context(), &kernelv1.PutArtifactRequest{Type: "stream", Name: "a:1.0.0", Content: []byte(text), CreateOnly: createOnly})
			return r.GetArtifact(), err
		}
		a, err := put(v1, true)
		w.check(err)
		if a.State != "DEPLOYED" || a.Path != "deployment/server/streams/a:1.0.0.json" || a.Revision != 1 || a.Name != "a:1.0.0" {
			t.Errorf("%v", a)
		}
		w.wantRunning(map[string]string{"a:1.0.0.json": v1})

		_, err = put(v1, true) // idempotent
		w.check(err)
		if _, err = put(v2, true); status.Code(err) != codes.AlreadyExists || !errors.Is(err, ErrExists) {
			t.Errorf("create over another content: %v", err)
		}
		a, err = put(v2, false)
		w.check(err)
		if a.Revision != 2 {
			t.Errorf("%v", a)
		}
		w.pass(time.Minute) // the looks have nothing to add
		w.wantCalls("deploy streams/a:1.0.0.json", "update streams/a:1.0.0.json")

		if _, err = put(content("bad"), false); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "bad line") {
			t.Errorf("a refused content: %v", err)
		}
		if got, _ := os.ReadFile(w.abs("streams/a:1.0.0.json")); string(got) != v2 {
			t.Errorf("the file is %q", got)
		}
		w.wantState("streams/a:1.0.0.json", Deployed)

		list, err := server.List(w.t.Context(), &kernelv1.ListArtifactsRequest{Type: "stream"})
		if err != nil || len(list.Artifacts) != 1 || list.Artifacts[0].Digest != digestOf([]byte(v2)) {
			t.Errorf("%v, %v", list, err)
		}
		for range 2 {
			_, err = server.Remove(w.t.Context(), &kernelv1.RemoveArtifactRequest{Type: "stream", Name: "a:1.0.0"})
			w.check(err)
		}
		w.wantCalls("undeploy streams/a:1.0.0.json")
		w.wantRunning(map[string]string{})
		w.pass(time.Minute)
		w.wantCalls()
		if list, err := os.ReadDir(w.abs("streams")); err != nil || len(list) != 0 {
			t.Errorf("left behind: %v, %v", list, err)
		}
	})
}

// A refusal that shows only when the artifact is deployed is taken back as well.
func TestPutRefusedLate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", content("offer id"))
		w.replace("streams/b.json", v1)
		w.pass(settleTime)
		late := lateOwner{w.owner}
		w.mu.Lock()
		w.owners[0].Client = late
		w.mu.Unlock()
		for _, name := range []string{"b", "c"} {
			_, err := w.service.Put(w.t.Context(), PutRequest{Type: "stream", Name: name, Content: []byte(content("offer id"))})
			if err == nil || !strings.Contains(err.Error(), "held by") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, _ := os.ReadFile(w.abs("streams/b.json")); string(got) != v1 {
			t.Errorf("b is %q", got)
		}
		if _, err := os.Lstat(w.abs("streams/c.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("c: %v", err)
		}
		if a := w.wantState("streams/b.json", Deployed); a.Revision != 1 {
			t.Errorf("%s", describe(a))
		}
		if n := len(w.service.List("stream")); n != 2 {
			t.Errorf("%d artifacts", n)
		}
		w.pass(time.Minute)
		w.wantState("streams/b.json", Deployed)
		w.wantRunning(map[string]string{"a.json": content("offer id"), "b.json": v1})
	})
}

func TestPutWhileTheOwnerIsAway(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setOwner(0)
		w.start()
		a, err := w.service.Put(w.t.Context(), PutRequest{Type: "stream", Name: "a", Content: []byte(v1)})
		w.check(err)
		if a.State != Pending || a.Cause.GetCode() != ErrOwnerAway.ID() {
			t.Errorf("%s", describe(a))
		}
		w.setOwner(1)
		w.pass(0)
		w.wantState("streams/a.json", Deployed)
	})
}

func TestPutWaitsForItsTurnWithinItsDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		release, err := w.service.turn(w.t.Context(), "Streams")
		w.check(err)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_, err = w.service.Put(ctx, PutRequest{Type: "stream", Name: "a", Content: []byte(v1)})
		if !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
		release()
		_, err = w.service.Put(w.t.Context(), PutRequest{Type: "stream", Name: "a", Content: []byte(v1)})
		w.check(err)
	})
}

func TestPutRefusesNames(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		for _, name := range []string{"", ".", "..", "../a", "a/b", `a\b`, ".a", "~a", "#a", "a\x00", "a\n", "a.tmp", "a~", "\xff", strings.Repeat("a", 201)} {
			if _, err := w.service.Put(w.t.Context(), PutRequest{Type: "stream", Name: name, Content: []byte(v1)}); !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
			if err := w.service.Remove(w.t.Context(), "stream", name); !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := w.service.Put(w.t.Context(), PutRequest{Type: "nothing", Name: "a"}); !errors.Is(err, ErrNoType) || status.Code(err) != codes.NotFound {
			t.Errorf("%v", err)
		}
		if _, err := w.service.Put(w.t.Context(), PutRequest{Type: "stream", Name: "a", Content: make([]byte, MaxContent+1)}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v", err)
		}
	})
}

// lateOwner finds conflicts only when it deploys.
type lateOwner struct{ *fakeOwner }

func (lateOwner) Validate(context.Context, *controlv1.DeployRequest, ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

func TestCase14DamagedIndexIsSetAside(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.stop()
		w.calls()
		last := slices.Max(w.owner.txs)
		data := filepath.Join(w.home, "data/kernel/artifacts")
		w.check(os.WriteFile(filepath.Join(data, indexFile), []byte("{\x00"), 0o600))
		w.owner.restart()
		w.start()
		w.pass(settleTime)
		w.wantCalls("deploy streams/a.json")
		w.wantState("streams/a.json", Deployed)
		if kept, _ := filepath.Glob(filepath.Join(data, indexFile+".damaged-*")); len(kept) != 1 {
			t.Errorf("set aside: %q", kept)
		}
		if first := slices.Max(w.owner.txs); first <= last {
			t.Errorf("transaction %d after %d", first, last)
		}
	})
}

func TestCauseOfAnAwayOwnerIsOptional(t *testing.T) {
	inWorld(t, func(w *world) {
		w.setOwner(0)
		w.owners[0].Cause = (*commonv1.Cause)(nil)
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		if a := w.wantState("streams/a.json", Pending); a.Cause.GetCode() != ErrOwnerAway.ID() {
			t.Errorf("%s", describe(a))
		}
		synctest.Wait()
	})
}
