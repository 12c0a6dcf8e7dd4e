package depsync

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// layerEnv turns the test binary into a process that brings a folder from one manifest to the other until it is killed.
const layerEnv = "CARBONADO_TEST_DEPSYNC_LAYER"

func openLayer(folder string) (*Node, error) {
	return New(Options{ID: "n", Folder: filepath.Join(folder, "server"), Store: filepath.Join(folder, "store")})
}

func layForEver(folder string) {
	n, err := openLayer(folder)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	root, err := n.open()
	if err != nil {
		os.Exit(1)
	}
	for i := 0; ; i++ {
		data, err := os.ReadFile(filepath.Join(folder, fmt.Sprint("manifest", i%2)))
		if err != nil {
			os.Exit(1)
		}
		m, err := ParseManifest(data)
		if err != nil {
			os.Exit(1)
		}
		if _, err := n.lay(context.Background(), root, m); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("laid")
	}
}

// kill -9 in the middle of switches: every file is whole, of the one generation or the other, and the next process puts it right.
func TestCase70Kill9InTheMiddleOfASwitch(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "server"), 0o755); err != nil {
		t.Fatal(err)
	}
	n, err := openLayer(folder)
	if err != nil {
		t.Fatal(err)
	}
	var manifests [2]Manifest
	texts := map[string]map[string]bool{}
	for i := range 2 {
		var files []File
		for k := range 12 {
			text := bytes.Repeat(fmt.Append(nil, i, k), 5000+k*1000)
			f := File{Path: fmt.Sprintf("s%d/f%d", k%3, k+i*3), Digest: digestOf(text), Size: int64(len(text)), Mode: 0o640}
			if err := n.store.Put(f.Digest, f.Size, bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
			if texts[f.Path] == nil {
				texts[f.Path] = map[string]bool{}
			}
			texts[f.Path][string(text)] = true
		}
		if manifests[i], err = NewManifest(files); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint("manifest", i)), manifests[i].Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	mixed := 0
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), layerEnv+"="+folder)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := 0; i <= round%3 && lines.Scan(); i++ {
			if lines.Text() != "laid" {
				t.Fatal(lines.Text())
			}
		}
		time.AfterFunc(time.Duration(round*3)*time.Millisecond, func() { _ = cmd.Process.Kill() })
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		got := content(t, filepath.Join(folder, "server"))
		whole := 0
		for p, text := range got {
			if strings.HasPrefix(filepath.Base(p), ".") {
				continue // was being written
			}
			if !texts[p][text] {
				t.Fatalf("round %d: %s is no whole file, %d bytes", round, p, len(text))
			}
			whole++
		}
		if whole != 12 {
			mixed++
		}
		if n, err = openLayer(folder); err != nil {
			t.Fatal(err)
		}
		root, err := n.open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.lay(t.Context(), root, manifests[0]); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(root.Close(), n.Close()); err != nil {
			t.Fatal(err)
		}
		got = content(t, filepath.Join(folder, "server"))
		for _, f := range manifests[0].Files {
			if digestOf([]byte(got[f.Path])) != f.Digest {
				t.Errorf("round %d: %s is not as it should be", round, f.Path)
			}
		}
		if len(got) != 12 {
			t.Errorf("round %d: %v", round, slices.Sorted(maps.Keys(got)))
		}
	}
	t.Logf("%d of 12 kills fell into a switch of names", mixed)
}
