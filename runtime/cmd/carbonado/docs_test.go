package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fenced finds the command blocks of a page, indented finds `make …` lines.
var (
	fenced   = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	makeLine = regexp.MustCompile(`(?m)^ {4}(make [a-z]+.*)$`)
)

// TestDocs runs every command line of README and docs/ in an installation, in the order of the page. Ports are moved; a `make` line is
// checked by make itself without running it, since this test runs within one.
func TestDocs(t *testing.T) {
	root, err := repoRoot()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range makeLine.FindAllSubmatch(text, -1) {
			fields := strings.Fields(string(m[1]))
			cmd := exec.Command("make", append([]string{"-n"}, fields[1:]...)...)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", filepath.Base(page), m[1], err, out)
			}
		}
		var script bytes.Buffer
		for _, m := range fenced.FindAllSubmatch(text, -1) {
			script.Write(m[1])
		}
		if script.Len() == 0 {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) { runPage(t, root, script.String()) })
	}
}

func runPage(t *testing.T, root, script string) {
	home := filepath.Join(t.TempDir(), "home")
	if out, err := exec.Command(filepath.Join(root, "tools", "install.sh"), home).CombinedOutput(); err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	offset, err := freeOffset()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("set -eu\n")
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "bin/carbonado.sh start") {
			line += " -DportOffset=" + strconv.Itoa(offset) + "\nfor i in $(seq 600); do bin/carbonado status 2>/dev/null | grep -q ^RUNNING && break; sleep 0.1; done"
		}
		for _, port := range []int{9443, 9763, 7611, 7711} {
			line = strings.ReplaceAll(line, ":"+strconv.Itoa(port), ":"+strconv.Itoa(port+offset))
		}
		b.WriteString("echo '+ " + strings.ReplaceAll(strings.SplitN(line, "\n", 2)[0], "'", `'\''`) + "'\n" + line + "\n")
	}
	cmd := exec.Command("bash", "-c", b.String())
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "CARBON_HOME="+home, "CARBONADO_ADMIN_PASSWORD=a-password-for-tests", "CARBONADO_SDK="+filepath.Join(root, "sdk"))
	out, err := cmd.CombinedOutput()
	stop := exec.Command("bin/carbonado.sh", "stop")
	stop.Dir, stop.Env = home, cmd.Env
	_ = stop.Run()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(home, "carbonado.pid")); err != nil {
			break // the launcher removes it when the server is gone
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
