// Command acceptance prints docs/acceptance.md: each acceptance case of the component runtime and the tests of that number. It must not
// know how a case is tested: it reads names. A test is TestCaseNN… in Go, or a script caseNN_….txtar; either may hold more cases and
// says so in a comment "Case NN: …".
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// cases are the cases by number: what must be so, in short.
var cases = []struct {
	n    int
	what string
}{
	{1, "a start moves through STARTING to ACTIVE"},
	{2, "a second start changes nothing"},
	{3, "a start that fails leaves nothing behind, ends in BACKOFF, and in FAILED when the budget is spent"},
	{4, "a stop is carried through although the component hangs or fails in it"},
	{5, "`disable` lasts over a start of the kernel, a stop does not"},
	{6, "a start of what a rule disables is refused with the rule"},
	{7, "an update replaces process and digest, once"},
	{8, "an update that can't be installed leaves the old version serving"},
	{9, "an update that can't start leaves the old version serving"},
	{11, "uninstalled while it starts: no process is left"},
	{12, "what is uninstalled answers with a kind of error of its own"},
	{13, "2,000 units from 50 workers"},
	{14, "a damaged state file is kept aside, and the kernel starts"},
	{15, "an archive that climbs out is refused before it is unpacked"},
	{16, "the higher ranking wins, then the older registration"},
	{18, "a consumer is told before its provider goes, and can still call it"},
	{19, "the properties of a service that is gone stay readable"},
	{20, "a filter that can't be read is refused with its position"},
	{22, "a missing reference is named with its candidates and what is the matter with each"},
	{23, "a circle of mandatory references never starts and is printed"},
	{25, "a static reference whose provider dies starts its consumer anew"},
	{26, "a dynamic reference has the new provider before it lets go of the old"},
	{28, "minimum cardinality"},
	{29, "a filter changed by configuration"},
	{30, "health as a dependency"},
	{31, "start levels, up and down"},
	{32, "dependants stop before their providers"},
	{33, "a required component that fails: what had started is stopped in reverse order"},
	{35, "a gate opens after the third of three"},
	{36, "static and computed counts add up"},
	{37, "a gate with two services opens when both are complete"},
	{38, "nothing expected: the gate opens at once"},
	{39, "a late provider"},
	{40, "a provider that never comes is named at the deadline"},
	{42, "a service marked skip does not count"},
	{43, "a provider that the profile disables lowers the count"},
	{44, "after the gate has opened, one more is an event"},
	{45, "a file that is still being copied is left alone; a renamed one is taken at once"},
	{47, "a file that is only touched changes nothing"},
	{49, "a faulty artifact leaves nothing behind"},
	{51, "an artifact of an unknown type waits for its deployer"},
	{52, "a deployer that crashes fails that artifact alone"},
	{53, "a batch is deployed in a fixed order"},
	{54, "listeners hear before and after each step, and can't stop the batch"},
	{55, "a start deploys nothing anew that is the same, and undeploys what went meanwhile"},
	{57, "a plan changes nothing"},
	{58, "consumers are bound again after kill -9, with what changed meanwhile"},
	{59, "a spent budget ends in FAILED until reset"},
	{61, "no process outlives the server"},
	{62, "a new kernel takes running components over, their executables verified; a stale record starts anew"},
	{63, "rubbish on standard output before the handshake is shown"},
	{64, "versions of the protocol are agreed on, or both lists shown"},
	{66, "out of memory ends one component, by name"},
	{67, "a start that takes too long is ended with its children"},
	{68, "an update under load loses no call"},
	{69, "a plan names dependants that a profile breaks, before the start"},
	{70, "a node that joins comes to the cluster's deployment digest; a partitioned one is shown as behind, with version and age; nothing goes round in circles"},
	{71, "`why` prints the leaf of a chain of four"},
}

// Found are the tests by case.
type Found map[int][]string

var (
	function = regexp.MustCompile(`(?m)^func (Test\w+)\(|// Case 0*([0-9]+):`)
	named    = regexp.MustCompile(`Case0*([0-9]+)`)
	comment  = regexp.MustCompile(`(?m)^# Cases? ([0-9]+)(?:(?:,| and) ([0-9]+))?(?:,? and ([0-9]+))?`)
	script   = regexp.MustCompile(`^case0*([0-9]+)_`)
)

// Find reads the tests of a repository.
func Find(root fs.FS) (Found, error) {
	found := Found{}
	add := func(number, name string) {
		if n, err := strconv.Atoi(number); err == nil && !slices.Contains(found[n], name) {
			found[n] = append(found[n], name)
		}
	}
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules" || d.Name() == "build"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		case strings.HasSuffix(path, "_test.go"):
			b, err := fs.ReadFile(root, path)
			if err != nil {
				return err
			}
			name := "" // of the test that a comment stands in
			for _, m := range function.FindAllStringSubmatch(string(b), -1) {
				if m[1] != "" {
					name = m[1]
				}
				text := "`" + name + "` in " + filepath.ToSlash(filepath.Dir(path))
				add(m[2], text)
				for _, n := range named.FindAllStringSubmatch(m[1], -1) {
					add(n[1], text)
				}
			}
		case strings.HasSuffix(path, ".txtar"):
			b, err := fs.ReadFile(root, path)
			if err != nil {
				return err
			}
			if m := script.FindStringSubmatch(d.Name()); m != nil {
				add(m[1], "`"+d.Name()+"`")
			}
			for _, m := range comment.FindAllStringSubmatch(string(b), -1) {
				for _, number := range m[1:] {
					add(number, "`"+d.Name()+"`")
				}
			}
		}
		return nil
	})
	return found, err
}

// Print writes the page.
func Print(w io.Writer, found Found) {
	fmt.Fprint(w, "# Acceptance cases of the component runtime\n\nMade by `go run ./docs/acceptance > docs/acceptance.md`; a test keeps it true and lets no case be without a test. ")
	fmt.Fprint(w, "Scripts are those of runtime/cmd/carbonado/testdata/script.\n\n| case | what must be so | shown by |\n| --- | --- | --- |\n")
	for _, c := range cases {
		tests := slices.Sorted(slices.Values(found[c.n]))
		fmt.Fprintf(w, "| %d | %s | %s |\n", c.n, c.what, strings.Join(tests, ", "))
	}
}

func main() {
	found, err := Find(os.DirFS("."))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	Print(os.Stdout, found)
}
