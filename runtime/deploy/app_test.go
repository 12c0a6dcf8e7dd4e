package deploy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/deploy/car"
)

// member is one artifact of a test application: its name, DAS's type of it, its content.
type member struct{ name, typ, content string }

const (
	streamType = "event/stream"
	scriptType = "analytics/spark"
)

// carOf makes an application archive.
func carOf(t *testing.T, name, role string, list ...member) string {
	t.Helper()
	var b bytes.Buffer
	w := archive.NewWriter(&b)
	root := fmt.Sprintf(`<artifacts><artifact name="%s" version="1.0.0" type="carbon/application">`, name)
	add := func(file, content string) {
		if err := w.AddBytes(file, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range list {
		root += fmt.Sprintf(`<dependency artifact="%s" version="1.0.0" include="true" serverRole="%s"/>`, m.name, role)
		add(m.name+"_1.0.0/artifact.xml", fmt.Sprintf(`<artifact name="%s" version="1.0.0" type="%s" serverRole="%s"><file>%s.json</file></artifact>`, m.name, m.typ, role, m.name))
		add(m.name+"_1.0.0/"+m.name+".json", m.content)
	}
	add("artifacts.xml", root+"</artifact></artifacts>")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// setAppOwners makes the owner take streams and scripts as DAS's folders have them; generation 0 stops it.
func (w *world) setAppOwners(generation uint64) {
	w.setOwner(generation)
	w.setTypes("eventstreams", "sparkscripts")
	if w.service != nil {
		w.service.Ring()
	}
}

// setTypes makes the owner take the files of some folders.
func (w *world) setTypes(folders ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owners := slices.Clone(w.owners) // those that were given away stay as they are
	owners[0].Types = nil
	for _, f := range folders {
		owners[0].Types = append(owners[0].Types, Type{Type: "stream", Directory: f, Suffix: ".json"})
	}
	w.owners = owners
}

func inApps(t *testing.T, test func(w *world)) {
	inWorld(t, func(w *world) {
		w.setAppOwners(1)
		w.mkdir("carbonapps")
		test(w)
	})
}

const shop = "carbonapps/shop.car"

// inCar is the path of a member's file, as calls name it.
func inCar(name string) string { return shop + "/" + name + "_1.0.0/" + name + ".json" }

func TestApplication(t *testing.T) {
	inApps(t, func(w *world) {
		w.start()
		// The script stands first, and waits for what the stream offers: streams go first all the same.
		w.replace(shop, carOf(t, "Shop", "", member{"daily", scriptType, content("wait orders")}, member{"orders", streamType, content("offer orders")}))
		w.pass(settleTime)
		w.wantState(shop, Deployed)
		w.wantCalls("deploy "+inCar("orders"), "deploy "+inCar("daily"))
		a := w.wantState(inCar("orders"), Deployed)
		if a.Application != ServerRoot+"/"+shop || a.Owner != "Streams" || a.Type != "stream" || a.Name != "orders" {
			t.Errorf("%+v", a)
		}
		if a := w.wantState(shop, Deployed); a.Owner != AppOwner || a.Type != AppType || a.Cause != nil {
			t.Errorf("%s", describe(a))
		}

		// The owner's new process gets them again; the kernel's restart changes nothing for an owner that goes on.
		w.owner.restart()
		w.setAppOwners(2)
		w.pass(settleTime)
		if got := w.calls(); len(got) < 2 || len(w.owner.running) != 2 {
			t.Errorf("%q", got)
		}
		w.stop()
		w.owner.restart()
		w.start()
		w.pass(settleTime)
		w.calls()
		w.wantState(shop, Deployed)
		w.wantState(inCar("daily"), Deployed)
		w.pass(5 * time.Minute)
		w.wantCalls()

		// An update: one goes, one is new, one is changed, one stays.
		w.replace(shop, carOf(t, "Shop", "", member{"orders", streamType, content("offer orders")}, member{"extra", streamType, content("x")}))
		w.pass(settleTime)
		w.wantCalls("undeploy "+inCar("daily"), "deploy "+inCar("extra"))
		w.wantState(shop, Deployed)

		// Gone: the reverse of the order in which they came.
		w.remove(shop)
		w.pass(settleTime)
		w.wantCalls("undeploy "+inCar("extra"), "undeploy "+inCar("orders"))
		if list := w.service.List(""); len(list) != 0 {
			t.Errorf("%v", list)
		}
	})
}

// TestFaultyApplication: one faulty artifact, and all is as it was.
func TestFaultyApplication(t *testing.T) {
	inApps(t, func(w *world) {
		w.start()
		w.replace(shop, carOf(t, "Shop", "", member{"a", streamType, content("one")}, member{"b", streamType, content("two", "bad")}, member{"c", scriptType, content("x")}))
		w.pass(settleTime)
		a := w.wantState(shop, Faulty)
		if a.Cause.GetCode() != ErrApp.ID() || a.Cause.GetFile() != ServerRoot+"/"+inCar("b") || a.Cause.GetLine() != 3 || len(a.Cause.GetChain()) == 0 {
			t.Errorf("%s", describe(a))
		}
		// What was refused is taken back too, to be sure.
		w.wantCalls("deploy "+inCar("a"), "undeploy "+inCar("b"), "undeploy "+inCar("a"))
		if len(w.owner.running) != 0 || len(w.service.List("stream")) != 0 {
			t.Errorf("left behind: %v %v", w.owner.running, w.service.List("stream"))
		}
		w.pass(5 * time.Minute) // no hot retries
		w.wantCalls()

		good := carOf(t, "Shop", "", member{"a", streamType, content("one")}, member{"b", streamType, content("two")})
		w.replace(shop, good)
		w.pass(settleTime)
		w.wantState(shop, Deployed)
		w.calls()
		before := map[string]string{}
		for p, c := range w.owner.running {
			before[p] = c
		}
		revisions := []uint64{w.get(inCar("a")).Revision, w.get(inCar("b")).Revision}

		// A faulty update: what was changed is changed back, what came goes, what went comes back.
		w.replace(shop, carOf(t, "Shop", "", member{"a", streamType, content("ONE")}, member{"new", streamType, content("x")}, member{"z", scriptType, content("bad")}))
		w.pass(settleTime)
		a = w.wantState(shop, Faulty)
		if a.Running != digestOf([]byte(good)) || a.Cause.GetFile() != ServerRoot+"/"+inCar("z") {
			t.Errorf("%s", describe(a))
		}
		if fmt.Sprint(w.owner.running) != fmt.Sprint(before) {
			t.Errorf("running %v\nbefore %v", w.owner.running, before)
		}
		if got := []uint64{w.wantState(inCar("a"), Deployed).Revision, w.wantState(inCar("b"), Deployed).Revision}; !slices.Equal(got, revisions) {
			t.Errorf("revisions %v, before %v", got, revisions)
		}
		w.calls()

		// So it is after a restart of everything.
		w.stop()
		w.owner.restart()
		w.start()
		w.pass(settleTime)
		if fmt.Sprint(w.owner.running) != fmt.Sprint(before) {
			t.Errorf("running %v\nbefore %v", w.owner.running, before)
		}
		w.wantState(shop, Faulty)
		w.remove(shop)
		w.pass(settleTime)
		if len(w.owner.running) != 0 || len(w.service.List("")) != 0 {
			t.Errorf("left behind: %v %v", w.owner.running, w.service.List(""))
		}
	})
}

// TestApplicationWaits: for a type that nobody takes, for an owner that does not run, for an artifact outside of it.
func TestApplicationWaits(t *testing.T) {
	inApps(t, func(w *world) {
		w.setAppOwners(0)
		w.start()
		w.replace(shop, carOf(t, "Shop", "", member{"a", streamType, content("wait outside")}))
		w.pass(settleTime)
		a := w.wantState(shop, Waiting)
		if a.Cause.GetCode() != ErrAppOwner.ID() || !strings.Contains(a.Cause.String(), "disabled by profile") || !slices.Equal(a.WaitsFor, []string{"deployer:Streams"}) {
			t.Errorf("%s", describe(a))
		}
		w.setAppOwners(1)
		w.pass(settleTime)
		a = w.wantState(shop, Waiting)
		if a.Cause.GetCode() != ErrApp.ID() || !strings.Contains(a.Cause.String(), "outside") {
			t.Errorf("%s", describe(a))
		}
		w.mkdir("eventstreams")
		w.replace("eventstreams/o.json", content("offer outside"))
		w.pass(settleTime)
		w.wantState(inCar("a"), Deployed)
		w.wantState(shop, Deployed)

		other := "carbonapps/other.car"
		w.replace(other, carOf(t, "Other", "", member{"p", "event/execution-plan", content("x")}))
		w.pass(settleTime)
		if a := w.wantState(other, Waiting); !slices.Equal(a.WaitsFor, []string{"deployer:event/execution-plan"}) {
			t.Errorf("%s", describe(a))
		}
		w.setTypes("eventstreams", "sparkscripts", "executionplans")
		w.service.Ring()
		w.pass(settleTime)
		w.wantState(other, Deployed)

		// The same application in another file; one whose file has another suffix.
		w.replace("carbonapps/copy.car", carOf(t, "Other", "", member{"q", streamType, content("x")}))
		w.pass(settleTime)
		if a := w.wantState("carbonapps/copy.car", Faulty); a.Cause.GetCode() != ErrAppTwice.ID() || !strings.Contains(a.Cause.GetText(), other) {
			t.Errorf("%s", describe(a))
		}
		w.remove(other)
		w.pass(settleTime)
		w.wantState("carbonapps/copy.car", Deployed)
	})
}

func TestApplicationOfOtherRoles(t *testing.T) {
	inApps(t, func(w *world) {
		w.start()
		w.replace(shop, carOf(t, "Shop", "EnterpriseServiceBus", member{"a", streamType, content("x")}))
		w.pass(settleTime)
		if a := w.wantState(shop, Deployed); a.Cause.GetCode() != ErrAppRoles.ID() || !strings.Contains(a.Cause.GetText(), "EnterpriseServiceBus") {
			t.Errorf("%s", describe(a))
		}
		w.wantCalls()
		w.replace(shop, "no archive")
		w.pass(settleTime)
		if a := w.wantState(shop, Faulty); a.Cause.GetCode() != archive.ErrStructure.ID() {
			t.Errorf("%s", describe(a))
		}
	})
}

// TestOwnerBreaksInApplication: an owner that ends in the middle; all of it is tried again with the next process.
func TestOwnerBreaksInApplication(t *testing.T) {
	inApps(t, func(w *world) {
		w.start()
		w.owner.crashOn = "two"
		w.replace(shop, carOf(t, "Shop", "", member{"a", streamType, content("one")}, member{"b", streamType, content("two")}))
		called := func() bool {
			w.owner.mu.Lock()
			defer w.owner.mu.Unlock()
			return len(w.owner.txs) > 0
		}
		for !called() {
			w.pass(100 * time.Millisecond)
		}
		w.setAppOwners(0)
		w.pass(settleTime)
		if a := w.wantState(shop, Waiting); a.Cause.GetCode() != ErrAppOwner.ID() {
			t.Errorf("%s", describe(a))
		}
		w.owner.mu.Lock()
		w.owner.crashOn = ""
		w.owner.mu.Unlock()
		w.owner.restart()
		w.setAppOwners(2)
		w.pass(time.Minute)
		w.wantState(shop, Deployed)
		if len(w.owner.running) != 2 {
			t.Errorf("%v", w.owner.running)
		}
	})
}

// TestDeployersThere: owners that an application waits for are told from those that are there.
func TestDeployersThere(t *testing.T) {
	owners := []Owner{{Component: "A", Types: []Type{{Type: "x", Directory: "eventstreams"}}}, {Component: "B", Client: &fakeOwner{}, Types: []Type{{Type: "acme"}}}}
	for name, want := range map[string]bool{"deployer:A": false, "deployer:B": true, "deployer:acme": true, "deployer:event/stream": false, "other": false} {
		if deployersThere(owners, []string{name}) != want {
			t.Errorf("%s", name)
		}
	}
	if _, _, ok := taker(owners, car.Artifact{Type: "event/stream", Folder: "eventstreams"}); !ok {
		t.Error("nobody takes streams")
	}
}
