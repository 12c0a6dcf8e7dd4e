// Package server lays out an installation in a temporary folder and runs it for a measurement. It must not know what is measured.
package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Password of the admin of a measured installation.
const Password = "a-password-for-measurements"

// ErrEnded is the error of a server that ended before it had started.
var ErrEnded = errors.New("the server ended")

// Installation is one laid-out installation. Remove it.
type Installation struct {
	Home   string
	Offset int
}

// Lay makes an installation from what `make build` built, in the repository at root.
func Lay(root string) (*Installation, error) {
	dir, err := os.MkdirTemp("", "carbonado-bench-")
	if err != nil {
		return nil, err
	}
	i := &Installation{Home: filepath.Join(dir, "home")}
	if out, err := exec.Command(filepath.Join(root, "tools", "install.sh"), i.Home).CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("install: %w\n%s", err, out), os.RemoveAll(dir))
	}
	if i.Offset, err = freeOffset(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return i, nil
}

// Remove deletes the installation.
func (i *Installation) Remove() error { return os.RemoveAll(filepath.Dir(i.Home)) }

func freeOffset() (int, error) {
	for offset := 3000 + os.Getpid()%1000; offset < 20000; offset += 17 {
		free := true
		for _, base := range []int{9443, 9763, 7611, 7711} {
			l, err := net.Listen("tcp", ":"+strconv.Itoa(base+offset))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return offset, nil
		}
	}
	return 0, errors.New("no free ports")
}

// Running is a started server.
type Running struct {
	*Installation
	cmd *exec.Cmd
	// Took is the time from exec to the line that says that all components have settled.
	Took time.Duration
	rest chan error
}

// Start runs `carbonado server` and waits until it says that it has started.
func (i *Installation) Start(ctx context.Context, args ...string) (*Running, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(i.Home, "bin", "carbonado"), append([]string{"server", "-DportOffset=" + strconv.Itoa(i.Offset)}, args...)...)
	cmd.Env = append(os.Environ(), "CARBON_HOME="+i.Home, "CARBONADO_ADMIN_PASSWORD="+Password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // a bench that is killed leaves no server behind
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &Running{Installation: i, cmd: cmd, rest: make(chan error, 1)}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, errors.Join(ErrEnded, cmd.Wait())
		}
		if strings.Contains(line, " started, profile ") {
			r.Took = time.Since(began)
			break
		}
		fmt.Fprint(os.Stderr, line)
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		r.rest <- cmd.Wait()
	}()
	return r, nil
}

// Stop ends the server in order.
func (r *Running) Stop() error {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-r.rest
}

// Command is a CLI command against the installation.
func (i *Installation) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(i.Home, "bin", "carbonado"), args...)
	cmd.Env = append(os.Environ(), "CARBON_HOME="+i.Home)
	return cmd
}

// Own is how many of Processes are the runtime's own: watch, guardian, kernel. Those of components follow.
const Own = 3

// Processes are the pids of watch, guardian, kernel and components.
func (i *Installation) Processes(ctx context.Context) ([]int, error) {
	var status struct{ GuardianPid, KernelPid int }
	if err := i.ask(ctx, &status, "status"); err != nil {
		return nil, err
	}
	var components []struct{ Pid int }
	if err := i.ask(ctx, &components, "component", "ls"); err != nil {
		return nil, err
	}
	pids := []int{watchOf(status.GuardianPid), status.GuardianPid, status.KernelPid}
	for _, c := range components {
		if c.Pid > 0 {
			pids = append(pids, c.Pid)
		}
	}
	return pids, nil
}

// watchOf is the guardian's parent, the process that `carbonado server` starts as.
func watchOf(guardian int) int {
	parent, err := parentOf(guardian)
	if err != nil {
		return guardian
	}
	return parent
}

func parentOf(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0, fmt.Errorf("stat of process %d is empty", pid)
	}
	return strconv.Atoi(fields[1])
}

// Component is one line of `component ls`.
type Component struct {
	Name, Version, State string
	Pid                  int
}

// Components lists the installed components.
func (i *Installation) Components(ctx context.Context) ([]Component, error) {
	var out []Component
	err := i.ask(ctx, &out, "component", "ls")
	return out, err
}

func (i *Installation) ask(ctx context.Context, v any, args ...string) error {
	out, err := i.Command(ctx, append(args, "-o", "json")...).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(out, v)
}

// Tree is pids and the processes that they have started, at this moment.
func Tree(pids []int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, file := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		if parent, err := parentOf(pid); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	tree, seen := slices.Clone(pids), map[int]bool{}
	for _, pid := range pids {
		seen[pid] = true
	}
	for i := 0; i < len(tree); i++ {
		for _, child := range children[tree[i]] {
			if !seen[child] {
				seen[child] = true
				tree = append(tree, child)
			}
		}
	}
	return tree, nil
}

// PSS is the proportional set size of processes together, in bytes (/proc/PID/smaps_rollup).
func PSS(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kb << 10
			}
		}
	}
	return sum, nil
}

// LayEmpty makes an installation without any component.
func LayEmpty(root string) (*Installation, error) {
	i, err := Lay(root)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(i.Home, "plugins"))
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(i.Home, "plugins", e.Name())))
	}
	if err != nil {
		return nil, errors.Join(err, i.Remove())
	}
	return i, nil
}

// Folder lays out a package that has a descriptor and one executable, in the folder packages/NAME beside the installation.
func (i *Installation) Folder(executable, name, descriptor string) error {
	dir := filepath.Join(filepath.Dir(i.Home), "packages", name)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "component.yaml"), []byte(descriptor), 0o644); err != nil {
		return err
	}
	if err := os.Link(executable, filepath.Join(dir, "bin", name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Package lays out a package and installs it by the command line.
func (i *Installation) Package(executable, name, descriptor string) error {
	if err := i.Folder(executable, name, descriptor); err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(i.Home), "packages", name)
	if out, err := i.Command(context.Background(), "plugin", "install", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: %w\n%s", name, err, out)
	}
	return nil
}
