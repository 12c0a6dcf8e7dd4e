package supervisor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// loggersMost bounds the loggers of a component's modules; beyond it a module is shown as a field.
const loggersMost = 64

// lineLog writes a component's lines into the kernel's log. Lines of hclog's JSON keep level, module and fields. Used by one goroutine.
type lineLog struct {
	log     hclog.Logger
	modules map[string]hclog.Logger
	// inPanic: the lines that follow a panic's first are its stack.
	inPanic bool
}

func newLineLog(log hclog.Logger) *lineLog {
	return &lineLog{log: log, modules: map[string]hclog.Logger{}}
}

func (l *lineLog) lost(n int64) {
	l.log.Warn("lines were left out, because there were too many", "lines", n)
}

func (l *lineLog) line(x line) {
	if x.from == fromStderr && strings.HasPrefix(x.text, "{") {
		if x.cut == 0 && l.structured(x.text) {
			return
		}
	}
	text := printable(x.text)
	if x.cut > 0 {
		text += fmt.Sprintf(" … (%d bytes left out)", x.cut)
	}
	if x.from == beforeHandshake {
		l.log.Warn(text, "from", "standard output before the handshake")
		return
	}
	if text == "" {
		return
	}
	l.log.Log(l.level(x, text), text)
}

// level guesses the level of a plain line.
func (l *lineLog) level(x line, text string) hclog.Level {
	if x.from == fromStderr && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
		l.inPanic = true
	}
	switch {
	case x.from == fromStderr && l.inPanic:
		return hclog.Error
	case x.cut > 0 && strings.HasPrefix(text, "{"):
		// A line of hclog's whose end is missing. Its keys are in alphabetical order, so the level stands near the front.
		_, after, _ := strings.Cut(text[:min(len(text), 512)], `"@level":"`)
		name, _, _ := strings.Cut(after, `"`)
		if level := hclog.LevelFromString(name); level != hclog.NoLevel {
			return level
		}
	case strings.HasPrefix(text, "["):
		name, _, ok := strings.Cut(text[1:], "]")
		if level := hclog.LevelFromString(name); ok && level != hclog.NoLevel && level != hclog.Off {
			return level
		}
	}
	return hclog.Info
}

// structured logs a line of hclog's JSON. ok is false if it is none.
func (l *lineLog) structured(text string) (ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	fields := map[string]any{}
	if d.Decode(&fields) != nil {
		return false
	}
	message, ok := fields["@message"].(string)
	if !ok {
		return false
	}
	name, _ := fields["@level"].(string)
	level := hclog.LevelFromString(name)
	if level == hclog.NoLevel || level == hclog.Off {
		level = hclog.Info
	}
	module, _ := fields["@module"].(string)
	log := l.module(module)
	for _, own := range []string{"@message", "@level", "@module", "@timestamp", "@caller"} {
		delete(fields, own)
	}
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	args := make([]any, 0, 2*len(keys)+2)
	if log == l.log && module != "" {
		args = append(args, "module", module)
	}
	for _, k := range keys {
		v := fields[k]
		switch s := v.(type) {
		case string:
			v = printable(s)
		case json.Number:
			v = s.String()
		}
		args = append(args, printable(k), v)
	}
	log.Log(level, printable(message), args...)
	return true
}

// module returns the logger of a module of the component.
func (l *lineLog) module(name string) hclog.Logger {
	if name == "" {
		return l.log
	}
	if log := l.modules[name]; log != nil {
		return log
	}
	if len(l.modules) >= loggersMost {
		return l.log
	}
	log := l.log.Named(printable(name))
	l.modules[name] = log
	return log
}

// printable makes text harmless for terminals and log files: valid UTF-8, no control characters but tabs and, within structured
// messages, newlines.
func printable(text string) string {
	text = strings.ToValidUTF8(text, "?")
	bad := func(r rune) bool { return (r < ' ' && r != '\t' && r != '\n') || r == 0x7f || (r >= 0x80 && r < 0xa0) }
	if strings.IndexFunc(text, bad) < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return '?'
		}
		return r
	}, text)
}
