// Command Probe is a component that does what a component must not do, for tests of the runtime: it eats memory, leaves orphans, and
// tries to get at what is not its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"carbonado.dev/sdk/component"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "orphan" {
		orphan()
	}
	component.Main(start, component.CLI("probe", "probe eat, probe fork, probe try PID", ask))
}

// ask runs `carbonado probe WHAT [PID]` in a process of its own.
func ask(ctx context.Context, in *component.Invocation) int {
	target := "http://admin/probe?do=" + url.QueryEscape(strings.Join(in.Args, " "))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		fmt.Fprintln(in.Stderr, err)
		return 1
	}
	answer, err := in.Admin.Do(request)
	if err != nil {
		fmt.Fprintln(in.Stderr, err)
		return 1
	}
	defer answer.Body.Close()
	io.Copy(in.Stdout, answer.Body)
	if answer.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

func start(c *component.C) error {
	component.ServeHTTP(c, "/probe", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		words := strings.Fields(r.URL.Query().Get("do") + " - -")
		switch words[0] {
		case "eat":
			eat()
		case "fork":
			fork(w)
		case "try":
			pid, _ := strconv.Atoi(words[1])
			try(w, c, pid)
		default:
			http.Error(w, "eat, fork or try", http.StatusBadRequest)
		}
	}))
	return nil
}

// eat takes memory until there is none. Nothing is touched: it is the promise that is refused.
func eat() {
	var all [][]byte
	for {
		all = append(all, make([]byte, 16<<20))
	}
}

// fork leaves a process that has left everything: a child of a child, in a session of its own, deaf to what it can be deaf to.
func fork(w io.Writer) {
	c := exec.Command("/proc/self/exe", "orphan", "first")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := c.Output()
	fmt.Fprintf(w, "%s", out)
	if err != nil {
		fmt.Fprintln(w, err)
	}
}

func orphan() {
	if os.Args[2] == "first" {
		c := exec.Command("/proc/self/exe", "orphan", "second")
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("orphan", c.Process.Pid)
		os.Exit(0)
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	select {}
}

// try prints one line for each thing that it tries: refused or ALLOWED.
func try(w io.Writer, c *component.C, pid int) {
	say := func(what string, err error) {
		if err == nil {
			fmt.Fprintln(w, what+": ALLOWED")
			return
		}
		fmt.Fprintf(w, "%s: refused (%v)\n", what, err)
	}
	read := func(path string) error {
		f, err := os.Open(path)
		if err == nil {
			_, err = f.Read(make([]byte, 1))
			f.Close()
			if err == io.EOF || errors.Is(err, syscall.EISDIR) {
				err = nil
			}
		}
		return err
	}
	call := func(number uintptr, args ...uintptr) error {
		a := append(args, 0, 0, 0, 0, 0, 0)
		if _, _, e := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); e != 0 {
			return e
		}
		return nil
	}
	repository := c.RepositoryFolder()
	proc := "/proc/" + strconv.Itoa(pid)

	say("own data", os.WriteFile(filepath.Join(c.DataFolder(), "mine"), []byte("x"), 0o600))
	say("own temporary files", os.WriteFile(filepath.Join(os.TempDir(), "mine"), []byte("x"), 0o600))
	say("own package", read(filepath.Join(c.PackageFolder(), "component.yaml")))
	say("time zones", read("/usr/share/zoneinfo/UTC"))

	say("others' data", read(filepath.Join(repository, "data", "DataService")))
	say("the kernel's data", read(filepath.Join(repository, "data", "kernel", "node-id")))
	say("keys", read(filepath.Join(repository, "resources", "security")))
	say("configuration", read(filepath.Join(repository, "conf", "carbon.xml")))
	say("the log", read(filepath.Join(repository, "logs")))
	say("sockets of others", read(filepath.Dir(filepath.Dir(os.TempDir()))))
	say("others' packages", read(filepath.Join(filepath.Dir(filepath.Dir(c.PackageFolder())), "DataService")))
	say("passwords of the system", read("/etc/shadow"))
	say("home folders", read("/root"))
	say("write into the package", os.WriteFile(filepath.Join(c.PackageFolder(), "more"), nil, 0o600))
	say("write to /tmp", os.WriteFile("/tmp/carbonado-probe", nil, 0o600))
	say("write to the deployment folder", os.WriteFile(filepath.Join(repository, "deployment", "server", "x"), nil, 0o600))
	own := filepath.Join(c.DataFolder(), "program")
	if err := os.WriteFile(own, []byte("#!/bin/sh\n"), 0o700); err == nil {
		say("execute what it wrote", exec.Command(own).Run())
	}

	say("memory of others", read(proc+"/mem"))
	say("environment of others", read(proc+"/environ"))
	say("descriptors of others", read(proc+"/fd"))
	say("signal others", unix.Kill(pid, 0))
	say("signal the guardian", unix.Kill(os.Getppid(), 0))
	say("ptrace", call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid)))
	local, remote := [8]byte{}, [8]byte{}
	say("process_vm_readv", call(unix.SYS_PROCESS_VM_READV, uintptr(pid),
		uintptr(unsafe.Pointer(&unix.Iovec{Base: &local[0], Len: 8})), 1, uintptr(unsafe.Pointer(&unix.Iovec{Base: &remote[0], Len: 8})), 1))

	for _, n := range []struct{ name, network, address string }{
		{"TCP", "tcp4", "127.0.0.1:80"}, {"IPv6", "tcp6", "[::1]:80"}, {"UDP", "udp4", "127.0.0.1:53"}, {"UDP over IPv6", "udp6", "[::1]:53"},
	} {
		conn, err := net.Dial(n.network, n.address)
		if errors.Is(err, syscall.ECONNREFUSED) { // it was sent, and nobody listens
			err = nil
		}
		if conn != nil {
			conn.Close()
		}
		say("dial "+n.name, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.Close()
	}
	say("listen", err)
	for _, family := range []struct {
		name       string
		domain, tp int
	}{{"raw", unix.AF_INET, unix.SOCK_RAW}, {"packet", unix.AF_PACKET, unix.SOCK_RAW}, {"vsock", unix.AF_VSOCK, unix.SOCK_STREAM}} {
		fd, err := unix.Socket(family.domain, family.tp, 0)
		if err == nil {
			unix.Close(fd)
		}
		say("socket "+family.name, err)
	}
	params := [120]byte{}
	say("io_uring", call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0]))))

	uid := os.Getuid()
	other := 0
	if uid == 0 {
		other = 12345
	}
	say("another user", call(unix.SYS_SETRESUID, uintptr(other), uintptr(other), uintptr(other)))
	say("user namespace", call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER))
	say("mount", unix.Mount("none", c.DataFolder(), "tmpfs", 0, ""))
	fmt.Fprintln(w, "user", uid)
}
