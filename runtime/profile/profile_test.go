package profile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/profile"
	"pgregory.net/rapid"
)

const home = "../.."

func load(t *testing.T) *profile.Set {
	t.Helper()
	s, err := profile.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// resolve runs a command line against the shipped profiles.yaml.
func resolve(t *testing.T, req profile.Request, args ...string) (*profile.Resolution, error) {
	t.Helper()
	s := load(t)
	a, rest, err := s.ParseArgs(args)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		t.Fatalf("left over: %v", rest)
	}
	req.Args = a
	return s.Resolve(req)
}

func decided(t *testing.T, req profile.Request, args ...string) *profile.Resolution {
	t.Helper()
	r, err := resolve(t, req, args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// das is the table of DAS.md section 1.2: who is off in which profile. AnalyticsStats is on where enableAnalyticsStats=true.
var das = map[string]struct{ on, off string }{
	"":               {"AnalyticsEngine AnalyticsExecution AnalyticsSparkCtx Indexing EventSink DataPurging Ml", "AnalyticsStats"},
	"-receiverNode":  {"EventSink DataPurging", "AnalyticsEngine AnalyticsExecution AnalyticsSparkCtx Indexing AnalyticsStats Ml"},
	"-indexerNode":   {"Indexing", "AnalyticsEngine AnalyticsExecution AnalyticsSparkCtx EventSink DataPurging AnalyticsStats Ml"},
	"-analyzerNode":  {"AnalyticsEngine AnalyticsExecution AnalyticsSparkCtx AnalyticsStats", "Indexing EventSink DataPurging Ml"},
	"-dashboardNode": {"AnalyticsStats", "AnalyticsEngine AnalyticsExecution AnalyticsSparkCtx Indexing EventSink DataPurging Ml"},
	"-mlNode":        {"AnalyticsEngine AnalyticsSparkCtx AnalyticsStats Ml", "AnalyticsExecution Indexing EventSink DataPurging"},
}

func TestProfilesAreThoseOfDAS(t *testing.T) {
	for word, want := range das {
		var args []string
		if word != "" {
			args = []string{word}
		}
		r := decided(t, profile.Request{}, args...)
		for _, name := range strings.Fields(want.on) {
			if d := r.Decide(name); !d.Enabled {
				t.Errorf("%q: %s is off: %s", word, name, d.Rule)
			}
		}
		for _, name := range strings.Fields(want.off) {
			d := r.Decide(name)
			if d.Enabled || d.Fix == "" {
				t.Errorf("%q: %s is on, or without advice: %+v", word, name, d)
			}
		}
		// What DAS's profiles don't name runs in each of them.
		for _, name := range []string{"DataService", "EventReceiver", "HTTPReceiver", "Identity", "Portal", "Hello"} {
			if d := r.Decide(name); !d.Enabled {
				t.Errorf("%q: %s is off: %s", word, name, d.Rule)
			}
		}
	}
}

func TestRulesSayWhoDecided(t *testing.T) {
	rule := profile.Rule{Component: "Portal", By: "admin", File: profile.RulesFile, Line: 3}
	r := decided(t, profile.Request{Installed: []string{"Hello"}, Rules: []profile.Rule{rule}},
		"-receiverNode", "-DdisableHello=true", "-DdisableAnalyticsEngine=true")
	for name, want := range map[string]struct{ rule, fix string }{
		"Hello":              {"-DdisableHello=true (argument 2)", "Start without -DdisableHello=true."},
		"Portal":             {"component disable Portal, by admin (repository/data/kernel/rules.yaml:3)", "Run `carbonado component enable Portal`."},
		"AnalyticsEngine":    {"-DdisableAnalyticsEngine=true (argument 3)", "Start without -DdisableAnalyticsEngine=true."},
		"AnalyticsExecution": {"profile receiver: disableAnalyticsExecution=true (repository/conf/profiles.yaml:", "Start with another profile, or with -DdisableAnalyticsExecution=false."},
		"EventSink":          {"profile receiver: disableEventSink=false (repository/conf/profiles.yaml:", ""},
		"DataService":        {"default: no rule names it", ""},
	} {
		d := r.Decide(name)
		if !strings.HasPrefix(d.Rule, want.rule) || d.Fix != want.fix {
			t.Errorf("%s: %q, fix %q", name, d.Rule, d.Fix)
		}
	}
	// The line is that of the rule in the file.
	d := r.Decide("Indexing")
	data, err := os.ReadFile(filepath.Join(home, d.File))
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Split(string(data), "\n")[d.Line-1]; strings.TrimSpace(line) != "disableIndexing: true" {
		t.Errorf("line %d is %q", d.Line, line)
	}
}

func TestPrecedence(t *testing.T) {
	rules := []profile.Rule{{Component: "Indexing", By: "admin", File: "r", Line: 1}}
	for _, c := range []struct {
		name  string
		args  string
		rules []profile.Rule
		who   string
		on    bool
		by    profile.Decider
	}{
		{"a flag replaces the profile's value of the same flag", "-receiverNode -DdisableIndexing=false", nil, "Indexing", true, profile.ByFlag},
		{"disable wins over enable", "-DenableIndexing=true -DdisableIndexing=true", nil, "Indexing", false, profile.ByFlag},
		{"the profile's disable wins over the flag's enable", "-receiverNode -DenableIndexing=true", nil, "Indexing", false, profile.ByProfile},
		{"enable alone", "-DenableAnalyticsStats=true", nil, "AnalyticsStats", true, profile.ByFlag},
		{"enable=false disables", "-DenableIndexing=false", nil, "Indexing", false, profile.ByFlag},
		{"disableAnalyticsStats=false does not start it", "-DdisableAnalyticsStats=false", nil, "AnalyticsStats", false, profile.ByDefault},
		{"the analyzer's statistics can be switched off", "-analyzerNode -DdisableAnalyticsStats=true", nil, "AnalyticsStats", false, profile.ByFlag},
		{"the later of the same flag counts", "-DdisableIndexing=true -DdisableIndexing=false", nil, "Indexing", true, profile.ByFlag},
		{"a rule lasts", "", rules, "Indexing", false, profile.ByRule},
		{"a rule stands above the profile", "-indexerNode", rules, "Indexing", false, profile.ByRule},
		{"a flag stands above a rule", "-DdisableIndexing=false", rules, "Indexing", true, profile.ByFlag},
		{"no value is true", "-DdisableIndexing", nil, "Indexing", false, profile.ByFlag},
		{"any case of true", "-DdisableIndexing=TRUE", nil, "Indexing", false, profile.ByFlag},
		{"disable.receiver is EventReceiver", "-Ddisable.receiver=true", nil, "EventReceiver", false, profile.ByFlag},
		{"of two names of one flag, disable wins", "-Ddisable.receiver=true -DdisableEventReceiver=false", nil, "EventReceiver", false, profile.ByFlag},
		{"in any order", "-DdisableEventReceiver=false -Ddisable.receiver=true", nil, "EventReceiver", false, profile.ByFlag},
		{"disableMl", "-DdisableMl=true", nil, "Ml", false, profile.ByFlag},
		{"the engine takes execution with it", "-DdisableAnalyticsEngine=true -DdisableAnalyticsExecution=false", nil, "AnalyticsExecution", false, profile.ByFlag},
		{"and the context", "-DdisableAnalyticsEngine=true", nil, "AnalyticsSparkCtx", false, profile.ByFlag},
		{"but not the other way round", "-DdisableAnalyticsExecution=true", nil, "AnalyticsEngine", true, profile.ByDefault},
	} {
		d := decided(t, profile.Request{Rules: c.rules}, strings.Fields(c.args)...).Decide(c.who)
		if d.Enabled != c.on || d.By != c.by {
			t.Errorf("%s (%s): %s is %t by %s (%s)", c.name, c.args, c.who, d.Enabled, d.By, d.Rule)
		}
	}
}

func TestUnknownFlagsEndTheStart(t *testing.T) {
	_, err := resolve(t, profile.Request{Installed: []string{"Hello"}, Remembered: []string{"Gone"}},
		"-DdisableIndexng=true", "-DenableNothingOfTheKind=true", "-Dmy.property=1")
	if !errors.Is(err, profile.ErrUsage) {
		t.Fatal(err)
	}
	text := err.Error()
	for _, want := range []string{"argument 1: -DdisableIndexng names nothing known", "argument 2: -DenableNothingOfTheKind names nothing known"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks %s", text, want)
		}
	}
	fix := causeFix(t, err)
	for _, want := range []string{"Did you mean -DdisableIndexing?", "AnalyticsEngine, ", "Hello", "Gone", "Ml", "disable.receiver", "enableIndexingStats"} {
		if !strings.Contains(fix, want) {
			t.Errorf("%s\nlacks %s", fix, want)
		}
	}
}

// causeFix is what the operator is told to do.
func causeFix(t *testing.T, err error) string {
	t.Helper()
	var all []string
	var walk func(error)
	walk = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				walk(e)
			}
			return
		}
		all = append(all, component.CauseOf(err).Fix)
	}
	walk(err)
	return strings.Join(all, "\n")
}

func TestWrongValuesAndProfiles(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-DdisableIndexing=yes", "argument 1: -DdisableIndexing=yes must be true or false"},
		{"-DdisableIndexing=", "-DdisableIndexing= must be true or false"},
		{"--profile worker", `there is no profile "worker"`},
		{"--profile=worker", `there is no profile "worker"`},
		{"-receiverNode -indexerNode", "two profiles are named: -receiverNode and -indexerNode"},
		{"-receiverNode --profile analyzer", "two profiles are named"},
		{"-D=x", "argument 1, -D=x, has no name"},
		{"-Ddisable=true", "-Ddisable names nothing known"},
	} {
		if _, err := resolve(t, profile.Request{}, strings.Fields(c.args)...); !errors.Is(err, profile.ErrUsage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.args, err, c.want)
		}
	}
	if r := decided(t, profile.Request{}, "-receiverNode", "--profile", "receiver"); r.Profile != "receiver" {
		t.Errorf("the same profile twice: %s", r.Profile)
	}
}

func TestNoticesAndProperties(t *testing.T) {
	req := profile.Request{Installed: []string{"Indexing"}, Remembered: []string{"Gone", "Indexing"}}
	r := decided(t, req, "-DdisableGone=true", "-DdisableMLSparkCtx=true", "-DdisableIndexThrottling=true", "-DprofileReceiver=true",
		"-DdisableIndexing=true", "-DdisableDataPurging=true", "-DportOffset=3", "-Dsetup", "-Dx=y")
	var got []string
	for _, n := range r.Notices {
		got = append(got, n.Text)
	}
	want := []string{
		"argument 1, -DdisableGone=true: Gone was once installed and is not now",
		"argument 2, -DdisableMLSparkCtx=true: the machine learner has no Spark context of its own",
		"argument 3, -DdisableIndexThrottling=true: in DAS 3.0.0 disableIndexThrottling=true switched the flow control on; here true disables IndexThrottling",
		"argument 4, -DprofileReceiver=true: the receiver's rate is always measured",
		"argument 6, -DdisableDataPurging=true: DataPurging is not installed",
		"argument 8, -Dsetup=true: tables are made when they are first needed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("notices\n%s", strings.Join(got, "\n"))
	}
	if r.Properties["portOffset"] != "3" || r.Properties["setup"] != "true" || len(r.Properties) != 4 {
		t.Errorf("properties %v", r.Properties)
	}
	if ml := decided(t, profile.Request{}, "-mlNode"); len(ml.Notices) != 1 || !strings.Contains(ml.Notices[0].Text, "profile ml is for Ml, which is not installed") {
		t.Errorf("%v", ml.Notices)
	}
	if ml := decided(t, profile.Request{Installed: []string{"Ml"}}, "-mlNode"); len(ml.Notices) != 0 {
		t.Errorf("%v", ml.Notices)
	}
}

// TestEveryNameOfDAS: no flag of DAS.md section 1.3 ends a start.
func TestEveryNameOfDAS(t *testing.T) {
	for _, name := range strings.Fields(`disableAnalyticsEngine disableAnalyticsExecution disableAnalyticsSparkCtx enableAnalyticsStats
		disableAnalyticsStats disableIndexing disableEventSink disableSparkEventingTask disableDataPurging disableIndexThrottling disableMl
		disableMLSparkCtx disableLocalIndexQueue disable.receiver profileReceiver profilePersistence persistenceStatsCutoff profileIndexing
		enableIndexingStats force.indexing enableDistributedWebServiceConnectorCache wso2_custom_conf_dir jmx.agent.name isableIndexThrottling`) {
		r := decided(t, profile.Request{Installed: []string{"AnalyticsEngine", "Indexing"}}, "-D"+name+"=true")
		known := slices.Contains(r.Known(), strings.TrimPrefix(strings.TrimPrefix(name, "disable"), "enable"))
		if len(r.Notices) == 0 && !known && name != "disable.receiver" {
			t.Errorf("%s is neither known nor worth a notice", name)
		}
	}
}

func TestParseArgsGivesTheRestBack(t *testing.T) {
	a, rest, err := load(t).ParseArgs([]string{"--foreground", "-analyzerNode", "-o", "json", "-Da=b=c", "--"})
	if err != nil || a.Profile != "analyzer" || !slices.Equal(rest, []string{"--foreground", "-o", "json", "--"}) {
		t.Errorf("%+v %v %v", a, rest, err)
	}
	if len(a.Defines) != 1 || a.Defines[0] != (profile.Define{Name: "a", Value: "b=c", Index: 5}) {
		t.Errorf("%+v", a.Defines)
	}
}

func TestProfilesFileFaults(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"profiles: {}\n", `profiles needs "default"`},
		{"profiles:\n  default: {summary: x, flags: {disableFoo: true}}\n", "p.yaml:2:45: Foo is not among the components"},
		{"profiles:\n  default: {summary: x, flags: {disableFoo: 1}}\n", "p.yaml:2:45: profiles.default.flags.disableFoo is a number"},
		{"profiles:\n  default: {summary: x, flags: {foo: true}}\n", `p.yaml:2:33: profiles.default.flags has no key "foo"`},
		{"profiles:\n  default: {summary: x}\ncomponents:\n  A: {summary: a, implies: [B]}\n", "p.yaml:4:28: B is not among the components"},
		{"profiles:\n  default: {summary: x}\nflags:\n  disable.x: {means: disableB}\n", "p.yaml:4:22: B is not among the components"},
		{"profiles:\n  default: {summary: x}\nflags:\n  disable.x: {}\n", "p.yaml:4:14"},
	} {
		if _, err := profile.Parse("p.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	if got := load(t).Profiles(); got[0].Name != "default" || len(got) != 6 || got[1].Argument != "-analyzerNode" {
		t.Errorf("%+v", got)
	}
}

func TestLastingRules(t *testing.T) {
	dir := t.TempDir()
	r := profile.RulesAt(dir)
	if rules, err := r.List(); err != nil || len(rules) != 0 {
		t.Fatalf("%v, %v", rules, err)
	}
	now := time.Date(2026, 11, 25, 10, 0, 0, 123, time.UTC)
	for _, name := range []string{"Portal", "Indexing", "Portal"} {
		if err := r.Disable(name, "admin", now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	rules, err := profile.RulesAt(dir).List()
	if err != nil || len(rules) != 2 || rules[0].Component != "Indexing" || rules[1].By != "admin" || !rules[1].Since.Equal(time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)) {
		t.Fatalf("%+v, %v", rules, err)
	}
	data, _ := os.ReadFile(filepath.Join(dir, profile.RulesFile))
	if line := strings.Split(string(data), "\n")[rules[0].Line-1]; strings.TrimSpace(line) != "Indexing:" {
		t.Errorf("line %d is %q", rules[0].Line, line)
	}
	if was, err := r.Enable("Indexing"); err != nil || !was {
		t.Errorf("%t, %v", was, err)
	}
	if was, err := r.Enable("Indexing"); err != nil || was {
		t.Errorf("twice: %t, %v", was, err)
	}
	if err := os.WriteFile(filepath.Join(dir, profile.RulesFile), []byte("disabled: ["), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(); !errors.Is(err, profile.ErrRules) {
		t.Errorf("a damaged file: %v", err)
	}
	if err := r.Disable("X", "admin", now); !errors.Is(err, profile.ErrRules) {
		t.Errorf("a damaged file was written over: %v", err)
	}
}

// TestDisableAlwaysWins: whatever else is said, a component named by disable…=true on the command line is off, with that rule.
func TestDisableAlwaysWins(t *testing.T) {
	s := load(t)
	names := s.Components()
	rapid.Check(t, func(t *rapid.T) {
		var args []string
		if word := rapid.SampledFrom([]string{"", "-receiverNode", "-indexerNode", "-analyzerNode", "-dashboardNode"}).Draw(t, "profile"); word != "" {
			args = append(args, word)
		}
		off := rapid.SampledFrom(names).Draw(t, "off")
		for range rapid.IntRange(0, 6).Draw(t, "others") {
			n := rapid.SampledFrom(names).Draw(t, "name")
			flag := rapid.SampledFrom([]string{"disable", "enable"}).Draw(t, "flag")
			args = append(args, "-D"+flag+n+"="+rapid.SampledFrom([]string{"true", "false"}).Draw(t, "value"))
		}
		args = append(args, "-Ddisable"+off+"=true")
		a, _, err := s.ParseArgs(args)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Resolve(profile.Request{Args: a})
		if err != nil {
			t.Fatal(err)
		}
		if d := r.Decide(off); d.Enabled || !strings.HasPrefix(d.Rule, "-Ddisable"+off+"=true") {
			t.Fatalf("%v: %+v", args, d)
		}
	})
}

func FuzzParse(f *testing.F) {
	data, err := os.ReadFile(filepath.Join(home, profile.File))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, "-DdisableX=true")
	f.Fuzz(func(t *testing.T, data []byte, arg string) {
		s, err := profile.Parse("p.yaml", data)
		if err != nil {
			return
		}
		a, _, err := s.ParseArgs([]string{arg})
		if err == nil {
			_, err = s.Resolve(profile.Request{Args: a})
		}
		if err != nil && !errors.Is(err, profile.ErrUsage) {
			t.Fatalf("%q: %v", arg, err)
		}
	})
}
