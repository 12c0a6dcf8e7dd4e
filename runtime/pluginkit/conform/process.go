package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"carbonado.dev/sdk/handshake"
	"carbonado.dev/sdk/handshake/layout"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// process is one start of the component.
type process struct {
	cmd       *exec.Cmd
	run       string // its run folder
	lifeline  *os.File
	listeners []*controlv1.Listener
	conn      *grpc.ClientConn
	control   controlv1.ComponentClient
	address   string // of its service socket, from Configure
	abilities []string
	shaken    chan struct{}
	started   time.Time
	done      chan struct{}

	mu     sync.Mutex // guards what follows
	took   time.Duration
	line   string   // the handshake line
	early  []string // lines on standard output before it
	late   []string // and after it
	errors []string // lines on standard error
	exit   error
}

// start makes a process the way guardian and launcher do. kernel is what the lifeline names; nil is a start by hand: no lifeline, no handshake
// variables.
func (s *suite) start(kernel *layout.Kernel) (*process, error) {
	s.generation++
	d := s.descriptor
	p := &process{run: filepath.Join(s.scratch, fmt.Sprintf("r%d", s.generation)), shaken: make(chan struct{}), done: make(chan struct{})}
	data := filepath.Join(s.scratch, "data")
	for _, dir := range []string{data, filepath.Join(p.run, "tmp"), filepath.Join(s.scratch, "repository", "deployment", "server")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	exe, err := os.Open(filepath.Join(s.folder, filepath.FromSlash(d.Executable)))
	if err != nil {
		return nil, fmt.Errorf("the executable: %w", err)
	}
	defer exe.Close()
	p.cmd = exec.Command("/proc/self/fd/3")
	p.cmd.Args = []string{d.Name}
	p.cmd.Dir = data
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.ExtraFiles = []*os.File{exe}
	p.cmd.Env = []string{
		"GOGC=400", "GOMEMLIMIT=107374182", "LANG=C.UTF-8", "TMPDIR=" + filepath.Join(p.run, "tmp"), "CARBONADO_PACKAGE=" + s.folder,
	}
	for _, name := range []string{"CARBONADO_JAVA", "TZ"} { // what the kernel hands on of its own
		if v, ok := os.LookupEnv(name); ok {
			p.cmd.Env = append(p.cmd.Env, name+"="+v)
		}
	}
	if kernel != nil {
		c := handshake.Config()
		p.cmd.Env = append(p.cmd.Env, c.MagicCookieKey+"="+c.MagicCookieValue, "PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000",
			"PLUGIN_PROTOCOL_VERSIONS=1,2", "PLUGIN_UNIX_SOCKET_DIR="+p.run)
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer read.Close()
		p.lifeline = write
		if _, err := write.WriteString(kernel.Line()); err != nil {
			return nil, err
		}
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, read)
		for i, port := range d.Ports {
			f, err := listen(p, port.Name, layout.FDFirstListener+i)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, f)
		}
	}
	return p, p.begin()
}

// begin starts the process and reads what it says.
func (p *process) begin() error {
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("the executable can't be started: %w", err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { lines(bufio.NewReader(stdout), p.output) })
	readers.Go(func() {
		lines(bufio.NewReader(stderr), func(l string) {
			p.mu.Lock()
			p.errors = append(p.errors, l)
			p.mu.Unlock()
		})
	})
	go func() {
		defer close(p.done)
		readers.Wait()
		err := p.cmd.Wait()
		p.mu.Lock()
		p.exit = err
		p.mu.Unlock()
	}()
	return nil
}

// listen opens a TCP listener for one of the component's ports.
func listen(p *process, name string, fd int) (*os.File, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	p.listeners = append(p.listeners, &controlv1.Listener{Name: name, Fd: int32(fd), Address: l.Addr().String()})
	return l.(*net.TCPListener).File()
}

func lines(r *bufio.Reader, each func(string)) {
	for {
		text, err := r.ReadString('\n')
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			each(text)
		}
		if err != nil {
			return
		}
	}
}

func (p *process) output(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch f := strings.Split(line, "|"); {
	case p.line != "":
		p.late = append(p.late, line)
	case len(f) >= 5 && (f[2] == "unix" || f[2] == "tcp"):
		p.line, p.took = line, time.Since(p.started)
		close(p.shaken)
	default:
		p.early = append(p.early, line)
	}
}

// shake waits for the handshake line.
func (p *process) shake(patience time.Duration) error {
	select {
	case <-p.shaken:
		return nil
	case <-p.done:
		return fmt.Errorf("it ended (%s) without a handshake line%s", p.ended(), p.lastWords())
	case <-time.After(patience):
		return fmt.Errorf("no handshake line on standard output after %s%s", patience, p.lastWords())
	}
}

func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.errors); n > 0 {
		return "; it said: " + cut(p.errors[n-1])
	}
	if n := len(p.early); n > 0 {
		return "; on standard output it said: " + cut(p.early[n-1])
	}
	return ""
}

func cut(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// ended says how the process ended; only after done.
func (p *process) ended() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit == nil {
		return "exit code 0"
	}
	var failed *exec.ExitError
	if errors.As(p.exit, &failed) {
		if ws, ok := failed.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "signal " + ws.Signal().String()
		}
		return fmt.Sprintf("exit code %d", failed.ExitCode())
	}
	return p.exit.Error()
}

func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

// await waits for the end.
func (p *process) await(patience time.Duration) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("it still runs after %s", patience)
	}
}

// socket is the path in the handshake line.
func (p *process) socket() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Split(p.line, "|")[3]
}

// dial connects as the kernel does.
func (p *process) dial() error {
	conn, err := grpc.NewClient("unix://"+p.socket(), append(handshake.DialOptions(handshake.Exactly(p.cmd.Process.Pid, os.Geteuid())),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig())...)
	if err != nil {
		return err
	}
	p.conn, p.control = conn, controlv1.NewComponentClient(conn)
	return nil
}

// kill ends the process with its group and lets go of everything.
func (p *process) kill() {
	if p.conn != nil {
		p.conn.Close()
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if p.lifeline != nil {
		p.lifeline.Close()
	}
	<-p.done
}

// configuration is what the process is told first.
func (s *suite) configuration(p *process) (*controlv1.ConfigureRequest, error) {
	d := s.descriptor
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	req := &controlv1.ConfigureRequest{
		Name: d.Name, Version: d.Version.String(), Generation: s.generation, ConfigJson: config,
		DataFolder: filepath.Join(s.scratch, "data"), RunFolder: p.run, PackageFolder: s.folder, RepositoryFolder: filepath.Join(s.scratch, "repository"),
		Shares: map[string]string{}, NodeId: "conform", Tenant: -1234, Listeners: p.listeners, Properties: map[string]string{},
		MemoryLimit: d.Resources.Memory, PrincipalKey: make([]byte, 32), ProductVersion: "conform",
		KernelPid: int32(os.Getpid()), KernelUid: int32(os.Geteuid()),
	}
	for _, share := range d.Shares {
		req.Shares[d.Name+"/"+share.Name] = filepath.Join(s.scratch, "data", share.Name)
	}
	for _, use := range d.Uses {
		req.Shares[use.String()] = filepath.Join(s.scratch, "shares", use.Component, use.Share)
	}
	for _, folder := range req.Shares {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	if d.HasPrivilege("tls.server") {
		if req.Tls, err = s.double.tlsPair(); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// self is what the lifeline says of this process.
func self() *layout.Kernel { return &layout.Kernel{PID: os.Getpid(), UID: os.Geteuid()} }

// hclog tells whether a line is one of hclog's in JSON.
func hclog(line string) bool {
	var m map[string]any
	if json.Unmarshal([]byte(line), &m) != nil {
		return false
	}
	_, level := m["@level"].(string)
	_, message := m["@message"].(string)
	return level && message
}

// called makes one call on the control connection and gives its outcome.
func called[Q, R any](ctx context.Context, s *suite, f func(context.Context, Q, ...grpc.CallOption) (R, error), req Q) (R, error) {
	var r R
	err := s.within(ctx, func(ctx context.Context) error {
		var err error
		r, err = f(ctx, req)
		return err
	})
	return r, err
}
