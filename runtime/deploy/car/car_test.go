package car_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/carbonado/runtime/deploy/car"
	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
)

// files are the members of a sound application, by name, in the form of DAS.
func files() map[string]string {
	artifact := func(name, typ, file, more string) string {
		return fmt.Sprintf(`<artifact name="%s" version="1.0.0" type="%s" serverRole="DataAnalyticsServer">`+"\n  <file>%s</file>%s\n</artifact>\n", name, typ, file, more)
	}
	return map[string]string{
		"artifacts.xml": `<?xml version="1.0" encoding="UTF-8"?>
<artifacts>
  <artifact name="Orders" version="2.1.0" type="carbon/application">
    <dependency artifact="daily" version="1.0.0" include="true" serverRole="DataAnalyticsServer"/>
    <dependency artifact="sink" version="1.0.0" include="true" serverRole="DataAnalyticsServer"/>
    <dependency artifact="in" version="1.0.0" include="true" serverRole="DataAnalyticsServer"/>
    <dependency artifact="late" version="1.0.0" include="true" serverRole="DataAnalyticsServer"/>
    <dependency artifact="stream" version="1.0.0" include="true" serverRole="DataAnalyticsServer"/>
    <dependency artifact="flow" version="1.0.0" include="true" serverRole="EnterpriseServiceBus"/>
    <dependency artifact="unused" version="1.0.0" include="false" serverRole="DataAnalyticsServer"/>
  </artifact>
</artifacts>
`,
		"stream_1.0.0/artifact.xml": artifact("stream", "event/stream", "orders_1.0.0.json", ""), "stream_1.0.0/orders_1.0.0.json": "{}",
		"in_1.0.0/artifact.xml": artifact("in", "event/receiver", "in.xml", ""), "in_1.0.0/in.xml": "<x/>",
		"sink_1.0.0/artifact.xml": artifact("sink", "analytics/eventstore", "orders.xml", ""), "sink_1.0.0/orders.xml": "<x/>",
		"daily_1.0.0/artifact.xml": artifact("daily", "analytics/spark", "daily.xml", ""), "daily_1.0.0/daily.xml": "<x/>",
		"late_1.0.0/artifact.xml": artifact("late", "event/stream", "late.json", "\n"+`  <dependency artifact="sink" version="1.0.0"/>`), "late_1.0.0/late.json": "{}",
	}
}

func pack(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := archive.NewWriter(&b)
	for n, c := range files {
		if err := w.AddBytes(n, []byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var roles = []string{"DataAnalytics.*"}

func TestRead(t *testing.T) {
	a, err := car.Read("x.car", pack(t, files()), roles)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range a.Artifacts {
		got = append(got, x.Folder+"/"+x.File)
	}
	want := "eventsink/orders.xml eventstreams/late.json eventstreams/orders_1.0.0.json eventreceivers/in.xml sparkscripts/daily.xml"
	// `late` is a stream that depends on the sink, which goes before it; the rest goes by type, streams as they are listed.
	if a.Name != "Orders" || a.Version != "2.1.0" || strings.Join(got, " ") != want {
		t.Errorf("%s %s: %s\nwant %s", a.Name, a.Version, strings.Join(got, " "), want)
	}
	if len(a.Skipped) != 1 || a.Skipped[0] != (car.Skipped{Name: "flow", Version: "1.0.0", Role: "EnterpriseServiceBus"}) {
		t.Errorf("skipped %v", a.Skipped)
	}
	if a, err := car.Read("x.car", pack(t, files()), []string{"Another"}); err != nil || len(a.Artifacts) != 0 || len(a.Skipped) != 6 {
		t.Errorf("%+v %v", a, err)
	}
}

// TestFaults: each fault names the file in the archive, and its line.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f map[string]string)
		kind  *cause.Kind
		text  string
	}{
		{"no artifacts.xml", func(f map[string]string) { delete(f, "artifacts.xml") }, car.ErrCar, "x.car: it has no artifacts.xml"},
		{"an artifact is missing", func(f map[string]string) { delete(f, "sink_1.0.0/artifact.xml") }, car.ErrCar, "x.car/artifacts.xml:5:5: sink 1.0.0 is not in the archive"},
		{"a file is missing", func(f map[string]string) { delete(f, "in_1.0.0/in.xml") }, car.ErrCar, "x.car/in_1.0.0/artifact.xml:2:3: the file in_1.0.0/in.xml"},
		{"another version", func(f map[string]string) {
			f["in_1.0.0/artifact.xml"] = strings.Replace(f["in_1.0.0/artifact.xml"], "1.0.0", "1.0.1", 1)
		}, car.ErrCar, "x.car/in_1.0.0/artifact.xml:1:1: it is in 1.0.1"},
		{"a file elsewhere", func(f map[string]string) {
			f["in_1.0.0/artifact.xml"] = strings.Replace(f["in_1.0.0/artifact.xml"], "in.xml", "../stream_1.0.0/orders_1.0.0.json", 1)
		}, car.ErrCar, "is no file's name"},
		{"two files", func(f map[string]string) {
			f["in_1.0.0/artifact.xml"] = strings.Replace(f["in_1.0.0/artifact.xml"], "</artifact>", "<file>x</file></artifact>", 1)
		}, car.ErrCar, "has 2 files"},
		{"no type", func(f map[string]string) {
			f["in_1.0.0/artifact.xml"] = strings.Replace(f["in_1.0.0/artifact.xml"], "event/receiver", "", 1)
		}, car.ErrCar, "has no type"},
		{"no application", func(f map[string]string) { f["artifacts.xml"] = "<artifacts/>" }, car.ErrCar, "has 0 applications"},
		{"another root", func(f map[string]string) { f["artifacts.xml"] = "<x/>" }, car.ErrCar, "begins with <x>"},
		{"named twice", func(f map[string]string) {
			f["artifacts.xml"] = strings.Replace(f["artifacts.xml"], `"sink"`, `"in"`, 1)
		}, car.ErrCar, "named twice"},
		{"a path for a name", func(f map[string]string) {
			f["artifacts.xml"] = strings.Replace(f["artifacts.xml"], `"sink"`, `"../sink"`, 1)
		}, car.ErrCar, "is not of letters"},
		{"a circle", func(f map[string]string) {
			f["sink_1.0.0/artifact.xml"] = strings.Replace(f["sink_1.0.0/artifact.xml"], "</artifact>", `<dependency artifact="late" version="1.0.0"/></artifact>`, 1)
		}, car.ErrCar, "depend on each other: "},
		{"an entity", func(f map[string]string) {
			f["artifacts.xml"] = `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + f["artifacts.xml"]
		}, carbonxml.ErrXML, "DOCTYPE"},
		{"case 15: ../x", func(f map[string]string) { f["../x"] = "x" }, archive.ErrName, "leads out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := files()
			c.spoil(f)
			if _, err := car.Read("x.car", pack(t, f), roles); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v\nwant %s with %q", err, c.kind.ID(), c.text)
			}
		})
	}
	if _, err := car.Read("x.car", []byte("hello"), roles); !errors.Is(err, archive.ErrStructure) {
		t.Error(err)
	}
	if _, err := car.Read("x.car", pack(t, files()), []string{"("}); !errors.Is(err, car.ErrCar) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(files()["artifacts.xml"]), []byte(files()["in_1.0.0/artifact.xml"]))
	f.Fuzz(func(t *testing.T, root, artifact []byte) {
		x := files()
		x["artifacts.xml"], x["in_1.0.0/artifact.xml"] = string(root), string(artifact)
		a, err := car.Read("x.car", pack(t, x), roles)
		if err != nil {
			if cause.From(err).Code() == cause.Unknown.ID() {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		for _, x := range a.Artifacts {
			if strings.ContainsAny(x.File, "/\\") || x.Type == "" {
				t.Fatalf("%+v", x)
			}
		}
	})
}
