package wal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"

	"carbonado.dev/carbonado/components/dataservice/vfs"
)

// Options of a log; zero values are the defaults.
type Options struct {
	FS vfs.FS
	// FileSize is when a new file begins, in bytes. A group may make a file longer.
	FileSize int64
	// NoSync leaves out fdatasync: for tests and for users who accept loss at a power failure.
	NoSync bool
}

// DefaultFileSize is the size of one file of the log in bytes.
const DefaultFileSize = 64 << 20

// Pos is a place in the log.
type Pos struct {
	File uint64
	Off  int64
}

// Log is an open log. Commit, Full and Roll are for one goroutine; Read, Bounds and DropBefore may be called concurrently.
type Log struct {
	dir  string
	opts Options

	// Of the committing goroutine.
	cur    *logFile
	off    int64
	id     fileID
	broken error
	bufs   [][]byte

	// mu guards files, first, last and size.
	mu    sync.Mutex
	files map[uint64]*logFile
	first uint64
	last  uint64
	size  map[uint64]int64
}

// logFile is a file with its users counted, so that a reader keeps it open while it is dropped.
type logFile struct {
	f    vfs.File
	refs int
}

// Full says whether n more bytes should go to a new file.
func (l *Log) Full(n int64) bool { return l.cur == nil || l.off+n > l.opts.FileSize }

// Roll makes the next Commit begin a new file.
func (l *Log) Roll() error {
	if l.cur == nil {
		return nil
	}
	f := l.cur
	l.cur = nil
	// Gives back what was reserved behind the end.
	err := f.f.Truncate(l.off)
	l.release(f)
	if err != nil {
		return l.fail(err, "close a file of the log")
	}
	return nil
}

// Commit makes frames durable, in order, and says where the first one stands; the others follow it without gaps. The frames
// must be sealed. ErrFull: nothing was written, and a later call may succeed. Any other error is for ever.
func (l *Log) Commit(frames [][]byte) (Pos, error) {
	if l.broken != nil {
		return Pos{}, l.broken
	}
	if l.cur == nil {
		if err := l.create(); err != nil {
			return Pos{}, err
		}
	}
	var length int64
	for _, b := range frames {
		length += int64(len(b))
	}
	bufs := l.bufs[:0]
	at := l.off
	fresh := at == 0
	if fresh {
		rec := fileRecord(l.last, l.id)
		bufs = append(bufs, rec)
		at += int64(len(rec))
	}
	rec := groupRecord(l.id, at, length, len(frames))
	bufs = append(bufs, rec)
	at += int64(len(rec))
	bufs = append(bufs, frames...)
	err := l.cur.f.WriteAt(bufs, l.off)
	clear(bufs)
	l.bufs = bufs[:0]
	if err != nil {
		if vfs.IsFull(err) {
			if terr := l.cur.f.Truncate(l.off); terr == nil {
				return Pos{}, ErrFull.Wrap(err, "log file %d", l.last)
			}
		}
		return Pos{}, l.fail(err, "write")
	}
	if !l.opts.NoSync {
		if err := l.cur.f.Datasync(); err != nil {
			return Pos{}, l.fail(err, "make durable")
		}
		if fresh {
			if err := l.opts.FS.SyncDir(l.dir); err != nil {
				return Pos{}, l.fail(err, "make the folder durable")
			}
		}
	}
	l.off = at + length
	l.mu.Lock()
	l.size[l.last] = l.off
	l.mu.Unlock()
	return Pos{File: l.last, Off: at}, nil
}

func (l *Log) fail(err error, doing string) error {
	l.broken = ErrBroken.Wrap(err, "can't %s: log file %d", doing, l.last)
	return l.broken
}

func (l *Log) create() error {
	n := l.last + 1
	name := filepath.Join(l.dir, fileName(n))
	f, err := l.opts.FS.Create(name)
	if err == nil {
		if err = f.Reserve(l.opts.FileSize); err != nil {
			err = errors.Join(err, f.Close(), l.opts.FS.Remove(name))
		}
	}
	if err != nil {
		if vfs.IsFull(err) {
			return ErrFull.Wrap(err, "new log file %d", n)
		}
		return l.fail(err, "begin a new file")
	}
	l.id = newFileID()
	l.off = 0
	l.cur = &logFile{f: f, refs: 2}
	l.mu.Lock()
	l.last = n
	if l.first == 0 {
		l.first = n
	}
	l.files[n] = l.cur
	l.mu.Unlock()
	return nil
}

// Read reads n bytes at a position into buf, which is made larger if needed. The file may have been dropped: the error then is
// fs.ErrNotExist.
func (l *Log) Read(pos Pos, n int, buf []byte) ([]byte, error) {
	f, err := l.acquire(pos.File)
	if err != nil {
		return nil, err
	}
	defer l.release(f)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := f.f.ReadAt(buf, pos.Off); err != nil {
		return nil, err
	}
	return buf, nil
}

func (l *Log) acquire(n uint64) (*logFile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < l.first || n > l.last {
		return nil, fs.ErrNotExist
	}
	f := l.files[n]
	if f == nil {
		file, err := l.opts.FS.Open(filepath.Join(l.dir, fileName(n)))
		if err != nil {
			return nil, err
		}
		f = &logFile{f: file, refs: 1}
		l.files[n] = f
	}
	f.refs++
	return f, nil
}

func (l *Log) release(f *logFile) {
	l.mu.Lock()
	f.refs--
	last := f.refs == 0
	l.mu.Unlock()
	if last {
		_ = f.f.Close() // nothing is written through it any more
	}
}

// Bounds are the numbers of the first and the last file that have a group; 0, 0 is an empty log.
func (l *Log) Bounds() (first, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last = l.last
	if last > 0 && l.size[last] == 0 {
		last--
	}
	if last < l.first {
		return 0, 0
	}
	return l.first, last
}

// Bytes is the size of the files from number first on.
func (l *Log) Bytes(first uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for f, size := range l.size {
		if f >= first {
			n += size
		}
	}
	return n
}

// DropBefore removes files whose number is smaller; never the last one.
func (l *Log) DropBefore(n uint64) error {
	for {
		l.mu.Lock()
		first := l.first
		if first == 0 || first >= min(n, l.last) {
			l.mu.Unlock()
			return nil
		}
		f := l.files[first]
		delete(l.files, first)
		delete(l.size, first)
		l.first++
		l.mu.Unlock()
		if f != nil {
			l.release(f)
		}
		if err := l.opts.FS.Remove(filepath.Join(l.dir, fileName(first))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// Close closes all files. What was committed is durable already.
func (l *Log) Close() error {
	err := l.broken
	if err == nil {
		err = l.Roll()
	}
	if l.cur != nil {
		l.release(l.cur)
		l.cur = nil
	}
	l.mu.Lock()
	files := l.files
	l.files = map[uint64]*logFile{}
	l.first, l.last = 0, 0
	l.mu.Unlock()
	for _, f := range files {
		l.release(f)
	}
	return err
}
