package kernel

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"gopkg.in/natefinch/lumberjack.v2"
)

// kernelLog is the file of everything; components have files of their own beside it.
const kernelLog = "carbonado"

const (
	logMegabytes = 16
	logBackups   = 3
	followPause  = 200 * time.Millisecond
)

// logs writes every line to repository/logs/carbonado.log and the terminal, and each component's also to its own file.
type logs struct {
	folder string
	root   hclog.InterceptLogger
	all    *lumberjack.Logger

	// mu guards files.
	mu    sync.Mutex
	files map[string]*componentLog
}

type componentLog struct {
	file *lumberjack.Logger
	sink hclog.SinkAdapter
}

func newLogs(folder string, terminal io.Writer, level hclog.Level) (*logs, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	l := &logs{folder: folder, files: map[string]*componentLog{}, all: rotating(folder, kernelLog)}
	l.root = hclog.NewInterceptLogger(&hclog.LoggerOptions{
		Output: both{l.all, terminal}, Level: level, TimeFormat: "2006-01-02T15:04:05.000Z", TimeFn: func() time.Time { return time.Now().UTC() },
	})
	l.root.RegisterSink(l)
	return l, nil
}

// both writes to each of two writers, whatever became of the other: io.MultiWriter would keep from the terminal why the disk of the
// file is full.
type both [2]io.Writer

func (b both) Write(p []byte) (int, error) {
	_, first := b[0].Write(p)
	_, second := b[1].Write(p)
	return len(p), errors.Join(first, second)
}

func rotating(folder, name string) *lumberjack.Logger {
	return &lumberjack.Logger{Filename: filepath.Join(folder, name+".log"), MaxSize: logMegabytes, MaxBackups: logBackups}
}

// Accept implements hclog.SinkAdapter: a line of a logger named "Component…" goes to the component's file too.
func (l *logs) Accept(name string, level hclog.Level, msg string, args ...any) {
	component, _, _ := strings.Cut(name, ".")
	if component == "" || component == kernelLog {
		return
	}
	l.mu.Lock()
	c := l.files[component]
	if c == nil {
		file := rotating(l.folder, component)
		c = &componentLog{file: file, sink: hclog.NewSinkAdapter(&hclog.LoggerOptions{
			Output: file, Level: hclog.Debug, TimeFormat: "2006-01-02T15:04:05.000Z", TimeFn: func() time.Time { return time.Now().UTC() },
		})}
		l.files[component] = c
	}
	l.mu.Unlock()
	c.sink.Accept(name, level, msg, args...)
}

func (l *logs) close() {
	l.root.DeregisterSink(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.files {
		c.file.Close()
	}
	l.all.Close()
}

// copy writes the last n lines of a component's log ("" is the kernel's) to w, and goes on with follow until ctx ends.
func (l *logs) copy(ctx context.Context, name string, n int, follow bool, w io.Writer) error {
	if name == "" {
		name = kernelLog
	}
	f, err := os.Open(filepath.Join(l.folder, filepath.Base(name)+".log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for _, line := range tail(f, n) {
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for follow {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if flusher, ok := w.(interface{ Flush() }); ok {
			flusher.Flush()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// tail reads the rest of r and keeps its last n lines.
func tail(r io.Reader, n int) []string {
	var lines []string
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadString('\n')
		if line != "" {
			lines = append(lines, line)
			if len(lines) > n {
				lines = lines[1:]
			}
		}
		if err != nil {
			return lines
		}
	}
}
