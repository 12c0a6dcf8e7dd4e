// Package guardiantest lets a package's tests run as the kernel beneath a real guardian.
// It must not know what is tested.
package guardiantest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/guardian"
)

// client is the tests' way to the guardian.
var client *guardian.Client

// Client returns the way to the guardian, which all tests of the process share. Don't close it.
func Client() *guardian.Client { return client }

// Main is the body of a TestMain. The test binary plays every part: started by go test it becomes the guardian, which starts it
// again as its kernel, and there the tests run. Started under the name of a part (argv[0] up to the first "-") it plays
// that part and exits: tests start components whose executable is Executable and whose name is a part's.
//
//	func TestMain(m *testing.M) { guardiantest.Main(m, map[string]func(){"Sleeper": func() { select {} }}) }
func Main(m *testing.M, parts map[string]func()) {
	part, _, _ := strings.Cut(filepath.Base(os.Args[0]), "-")
	if play := parts[part]; play != nil {
		play()
		os.Exit(0)
	}
	if !guardian.Inside() {
		os.Exit(guardian.Run(guardian.Config{Args: os.Args}))
	}
	c, err := guardian.Connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guardiantest:", err)
		os.Exit(1)
	}
	client = c
	os.Exit(m.Run())
}

// Executable is the absolute path of the test binary.
func Executable(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
