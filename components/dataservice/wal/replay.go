package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"carbonado.dev/carbonado/components/dataservice/vfs"
	"carbonado.dev/sdk/frame"
)

// Entry is one frame of the log as replay gives it. Frame and Body are valid during the call only.
type Entry struct {
	frame.Header
	Frame []byte
	Body  []byte
	Pos   Pos
}

// Torn tells of a torn tail that was cut: from where, and how many bytes.
type Torn struct {
	Pos
	Bytes int64
}

// Open opens the log in a folder, which must exist, and replays it: each is called for every frame of every whole group from
// file number from on. Older files are removed. A torn tail, which was never acknowledged, is cut and reported; any other
// damage is ErrCorrupt. The next Commit begins a new file.
func Open(dir string, opts Options, from uint64, each func(*Entry) error) (*Log, *Torn, error) {
	if opts.FS == nil {
		opts.FS = vfs.OS
	}
	if opts.FileSize == 0 {
		opts.FileSize = DefaultFileSize
	}
	l := &Log{dir: dir, opts: opts, files: map[uint64]*logFile{}, size: map[uint64]int64{}}
	numbers, err := list(dir)
	if err != nil {
		return nil, nil, err
	}
	var kept []uint64
	for _, n := range numbers {
		if n >= from {
			kept = append(kept, n)
		} else if err := opts.FS.Remove(filepath.Join(dir, fileName(n))); err != nil {
			return nil, nil, err
		}
	}
	if len(kept) == 0 && from > 1 || len(kept) > 0 && kept[0] != from {
		return nil, nil, ErrCorrupt.New("log file %d is missing in %s", from, dir)
	}
	var torn *Torn
	for i, n := range kept {
		if i > 0 && n != kept[i-1]+1 {
			return nil, nil, ErrCorrupt.New("log file %d is missing in %s", kept[i-1]+1, dir)
		}
		torn, err = l.replayFile(n, i == len(kept)-1, each)
		if err != nil {
			return nil, nil, err
		}
	}
	if len(kept) > 0 {
		l.first = kept[0]
		l.last = kept[len(kept)-1]
		if torn != nil && torn.Off == 0 {
			// The file never got its first group: it goes, its number is used again.
			delete(l.size, l.last)
			l.last--
			if len(kept) == 1 {
				l.first = 0
			}
		}
	}
	return l, torn, nil
}

func list(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		if n, ok := fileNumber(e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (l *Log) replayFile(n uint64, last bool, each func(*Entry) error) (torn *Torn, err error) {
	name := filepath.Join(l.dir, fileName(n))
	f, err := l.opts.FS.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	end, id, known, bad := check(f, size, n)
	if bad != nil {
		if !last {
			return nil, ErrCorrupt.Wrap(bad, "%s at offset %d", fileName(n), end)
		}
		later, found, err := scan(f, size, end, id, known)
		if err != nil {
			return nil, err
		}
		if found {
			return nil, ErrCorrupt.Wrap(bad, "%s at offset %d, and a later group at offset %d is whole", fileName(n), end, later)
		}
		torn = &Torn{Pos{n, end}, size - end}
		if end == 0 {
			if err := l.opts.FS.Remove(name); err != nil {
				return nil, err
			}
			return torn, l.opts.FS.SyncDir(l.dir)
		}
		if err := f.Truncate(end); err != nil {
			return nil, err
		}
		if !l.opts.NoSync {
			if err := f.Datasync(); err != nil {
				return nil, err
			}
		}
	}
	l.size[n] = end
	r := reader{f: f, size: end}
	for r.off < end {
		b, h, body, err := r.next()
		if err != nil {
			return nil, err
		}
		at := r.off
		r.off += int64(len(b))
		if h.Kind == kindFile || h.Kind == kindGroup {
			continue
		}
		if err := each(&Entry{Header: h, Frame: b, Body: body, Pos: Pos{n, at}}); err != nil {
			return nil, fmt.Errorf("log file %d at offset %d: %w", n, at, err)
		}
	}
	return torn, nil
}

// check finds the end of the last whole group. bad says why what follows isn't one; nil: nothing follows.
func check(f io.ReaderAt, size int64, n uint64) (end int64, id fileID, known bool, bad error) {
	if size == 0 {
		return 0, id, false, errors.New("the file is empty")
	}
	r := reader{f: f, size: size}
	b, h, body, err := r.checked()
	if err != nil {
		return 0, id, false, err
	}
	if h.Kind != kindFile {
		return 0, id, false, fmt.Errorf("begins with a record of kind %d", h.Kind)
	}
	number, id, err := parseFile(body)
	if err != nil {
		return 0, id, false, err
	}
	if number != n {
		return 0, id, false, fmt.Errorf("holds the content of log file %d", number)
	}
	r.off += int64(len(b))
	for r.off < size {
		begin := r.off
		if err := r.group(id); err != nil {
			return end, id, true, err
		}
		if r.off <= begin {
			return end, id, true, errors.New("a group without bytes")
		}
		end = r.off
	}
	if end == 0 {
		return 0, id, true, errors.New("no group")
	}
	return end, id, true, nil
}

// group checks one group and moves behind it.
func (r *reader) group(id fileID) error {
	b, h, body, err := r.checked()
	if err != nil {
		return err
	}
	g, ok := parseGroup(body)
	if h.Kind != kindGroup || !ok || g.id != id || g.off != r.off {
		return errors.New("no group record")
	}
	r.off += int64(len(b))
	if g.length > r.size-r.off {
		return fmt.Errorf("a group of %d bytes, %d are there", g.length, r.size-r.off)
	}
	stop := r.off + g.length
	for i := range g.count {
		b, _, _, err := r.checked()
		if err != nil {
			return fmt.Errorf("frame %d of %d in its group: %w", i+1, g.count, err)
		}
		r.off += int64(len(b))
	}
	if r.off != stop {
		return fmt.Errorf("a group's frames end at %d, not at %d", r.off, stop)
	}
	return nil
}

// scan looks for a whole GROUP record behind offset end, in pieces that overlap by more than one record.
func scan(f io.ReaderAt, size, end int64, id fileID, known bool) (int64, bool, error) {
	const piece, overlap = 4 << 20, 4 << 10
	// The group that is bad may have a whole GROUP record itself: the file's first stands behind the FILE record.
	after := max(end, int64(frame.Size(fileBody))) + frame.Alignment
	buf := make([]byte, min(piece+overlap, size-end))
	for base := end; base < size; base += piece {
		n := min(int64(len(buf)), size-base)
		if _, err := f.ReadAt(buf[:n], base); err != nil {
			return 0, false, err
		}
		if off, found := laterGroup(buf[:n], base, after, id, known); found {
			return off, true, nil
		}
	}
	return 0, false, nil
}

// reader reads frames of a file through a window.
type reader struct {
	f    io.ReaderAt
	size int64
	off  int64

	buf  []byte
	base int64
}

// next gives the frame at off without moving.
func (r *reader) next() (b []byte, h frame.Header, body []byte, err error) {
	b, err = r.window(frame.HeaderSize)
	if err != nil {
		return nil, h, nil, err
	}
	size, err := frame.Peek(b)
	if errors.Is(err, frame.ErrShort) {
		if b, err = r.window(frame.MaxSize); err == nil {
			size, err = frame.Peek(b)
		}
	}
	if err != nil {
		return nil, h, nil, err
	}
	if b, err = r.window(size); err != nil {
		return nil, h, nil, err
	}
	h, body, rest, err := frame.Parse(b)
	if err != nil {
		return nil, h, nil, err
	}
	return b[:len(b)-len(rest)], h, body, nil
}

func (r *reader) checked() ([]byte, frame.Header, []byte, error) {
	b, h, body, err := r.next()
	if err == nil {
		err = frame.CheckBody(b)
	}
	return b, h, body, err
}

// window gives at least n bytes at off, or what there is to the file's end.
func (r *reader) window(n int) ([]byte, error) {
	want := min(int64(n), r.size-r.off)
	if r.off >= r.base && r.off+want <= r.base+int64(len(r.buf)) {
		return r.buf[r.off-r.base:], nil
	}
	const ahead = 1 << 20
	length := min(max(want, ahead), r.size-r.off)
	if int64(cap(r.buf)) < length {
		r.buf = make([]byte, length)
	}
	r.buf = r.buf[:length]
	r.base = r.off
	if _, err := r.f.ReadAt(r.buf, r.off); err != nil {
		return nil, err
	}
	return r.buf, nil
}
