package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/segment"
)

// maxTxRows is how many rows a transaction may write.
const maxTxRows = 1 << 30

// transaction is an open one. ending is set while it is committed or aborted; guarded by Store.mu.
type transaction struct {
	id        string
	key       string
	table     uint32
	name      string
	overwrite bool
	first     uint64
	epoch     uint64
	folder    string
	ending    bool
}

// Begun is what Begin answers.
type Begun struct {
	Transaction, Folder string
	First, MaxRows      uint64
	// Committed: the key was committed before.
	Committed bool
}

// Begin opens a transaction, or answers the one that is open for the key. A higher epoch takes a key over: what the earlier
// holder staged is dropped. So is what earlier runs of the same script left open: a script never overlaps itself, so those who
// staged it are gone.
func (s *Store) Begin(name string, overwrite bool, key string, epoch uint64) (Begun, error) {
	if key == "" {
		return Begun{}, ErrRequest.New("a transaction without key")
	}
	if err := s.raise(scriptOf(key), epoch); err != nil {
		return Begun{}, err
	}
	var out Begun
	var stale []*transaction
	err := s.do(func() (*change, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		t, err := s.find(name)
		if err != nil {
			return nil, err
		}
		if c, ok := s.commits[key]; ok {
			out = Begun{Transaction: c.Transaction, Committed: true}
			return nil, nil
		}
		for _, tx := range s.txs {
			same := tx.key == key
			if tx.ending || !same && !(isScript(key) && scriptOf(tx.key) == scriptOf(key) && runOf(tx.key) != runOf(key)) {
				continue
			}
			if same && tx.epoch == epoch && tx.table == t.ID && tx.overwrite == overwrite {
				out = begun(tx)
				continue
			}
			tx.ending = true
			if of := s.byID[tx.table]; of != nil {
				delete(of.open, tx.first)
			}
			delete(s.txs, tx.id)
			stale = append(stale, tx)
		}
		if out.Transaction != "" {
			return nil, nil
		}
		id := newID()
		tx := &transaction{id: id, key: key, table: t.ID, name: t.Name, overwrite: overwrite, first: s.seq + 1, epoch: epoch, folder: id}
		// The numbers are used up for everybody else from now on.
		s.seq += maxTxRows
		t.open[tx.first] = true
		s.txs[id] = tx
		out = begun(tx)
		return nil, nil
	})
	for _, tx := range stale {
		s.dropFolder(tx)
	}
	if err != nil || out.Committed {
		return out, err
	}
	if err := os.MkdirAll(filepath.Join(s.opts.Staging, out.Folder), 0o770); err != nil {
		return Begun{}, errors.Join(ErrStaged.Wrap(err, "folder of the transaction"), s.Abort(out.Transaction))
	}
	return out, nil
}

func newID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return hex.EncodeToString(b[:])
}

func begun(tx *transaction) Begun {
	return Begun{Transaction: tx.id, Folder: tx.folder, First: tx.first, MaxRows: maxTxRows}
}

func (s *Store) dropFolder(tx *transaction) {
	if err := os.RemoveAll(filepath.Join(s.opts.Staging, tx.folder)); err != nil {
		s.logf(err, "can't remove the staging folder %s", tx.folder)
	}
}

// Abort ends a transaction without effect; one that is not there is no error.
func (s *Store) Abort(id string) error {
	s.mu.Lock()
	tx := s.txs[id]
	if tx == nil || tx.ending {
		s.mu.Unlock()
		return nil
	}
	tx.ending = true
	delete(s.txs, id)
	if t := s.byID[tx.table]; t != nil {
		delete(t.open, tx.first)
	}
	s.mu.Unlock()
	s.dropFolder(tx)
	return nil
}

// Commit adopts staged files. It answers the manifest version and the number of rows; the same transaction again is answered
// the same, also after a restart.
func (s *Store) Commit(ctx context.Context, id string, files []string, epoch uint64) (version uint64, n int64, err error) {
	s.mu.Lock()
	for _, c := range s.commits {
		if c.Transaction == id {
			s.mu.Unlock()
			return c.Version, c.Rows, nil
		}
	}
	tx := s.txs[id]
	if tx == nil || tx.ending {
		s.mu.Unlock()
		return 0, 0, ErrNoTransaction.New("transaction %s", id)
	}
	t := s.byID[tx.table]
	if t == nil {
		s.mu.Unlock()
		return 0, 0, errors.Join(ErrNoTable.New("table %s was dropped", tx.name), s.Abort(id))
	}
	if seen := s.fences[scriptOf(tx.key)]; epoch < seen {
		s.mu.Unlock()
		return 0, 0, ErrFenced.New("%s: epoch %d, %d was seen", scriptOf(tx.key), epoch, seen)
	}
	tx.ending = true
	schema := t.Schema
	s.mu.Unlock()
	segs, err := s.adopt(ctx, t, tx, schema, files)
	if err == nil {
		version, n, err = s.commitFiles(t, tx, segs, epoch)
	}
	s.mu.Lock()
	if err != nil {
		// The files stay staged: the caller may correct them and try again, or abort.
		for _, f := range segs {
			f.gone = true
			s.garbage = append(s.garbage, f)
		}
		tx.ending = false
	} else {
		delete(s.txs, id)
	}
	s.mu.Unlock()
	if err != nil {
		return 0, 0, err
	}
	s.dropFolder(tx)
	signal(s.compactWake)
	return version, n, s.checkpoint()
}

func (s *Store) commitFiles(t *table, tx *transaction, segs []*segFile, epoch uint64) (version uint64, n int64, err error) {
	for _, f := range segs {
		n += f.Rows
	}
	err = s.do(func() (*change, error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if s.byID[t.ID] != t {
			return nil, ErrNoTable.New("table %s was dropped", t.Name)
		}
		script := scriptOf(tx.key)
		if seen := s.fences[script]; epoch < seen {
			return nil, ErrFenced.New("%s: epoch %d, %d was seen", script, epoch, seen)
		}
		version = s.version + 1
		c := &committed{Overwrite: tx.overwrite, First: tx.first, Commit: manifest.Commit{
			Key: tx.key, Transaction: tx.id, Rows: n, Version: version, Time: s.opts.Now().UnixMilli()}}
		for _, f := range segs {
			seg := f.Segment
			seg.AsOf = s.seq
			// Rows that came after the range was reserved were visible before these are.
			if t.LastSeq > tx.first && !tx.overwrite {
				seg.Adopted = []manifest.Adoption{{First: seg.MinSeq, Last: seg.MaxSeq, At: s.seq + 1}}
			}
			c.Files = append(c.Files, seg)
		}
		return &change{Op: opCommit, Table: t.ID, Commit: c, Fence: script, Epoch: epoch}, nil
	})
	return version, n, err
}

// adopt checks staged files and moves them where segments are. They get new names there; what is not numbered as reserved is
// numbered anew.
func (s *Store) adopt(ctx context.Context, t *table, tx *transaction, schema manifest.Schema, files []string) ([]*segFile, error) {
	folder := filepath.Join(s.opts.Staging, tx.folder)
	type staged struct {
		name string
		info segment.Info
	}
	var list []staged
	regular := true
	for i, name := range files {
		if name != filepath.Base(name) || !filepath.IsLocal(name) || slices.Contains(files[:i], name) {
			return nil, ErrStaged.New("file name %q", name)
		}
		st, err := os.Lstat(filepath.Join(folder, name))
		if err != nil || !st.Mode().IsRegular() {
			return nil, ErrStaged.Wrap(err, "file %s", name)
		}
		info, ascending, err := s.inspect(ctx, filepath.Join(folder, name), schema)
		if err != nil {
			return nil, ErrStaged.Wrap(err, "file %s for table %s", name, t.Name)
		}
		if info.Rows == 0 {
			continue
		}
		info.Bytes = st.Size()
		regular = regular && ascending && info.MinSeq >= tx.first && info.MaxSeq < tx.first+maxTxRows
		list = append(list, staged{name, info})
	}
	var total int64
	for _, f := range list {
		total += f.info.Rows
	}
	if total > maxTxRows {
		return nil, ErrStaged.New("%d rows, a transaction may have %d", total, int64(maxTxRows))
	}
	slices.SortFunc(list, func(a, b staged) int {
		switch {
		case a.info.MinSeq < b.info.MinSeq:
			return -1
		case a.info.MinSeq > b.info.MinSeq:
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	for i := 1; i < len(list); i++ {
		regular = regular && list[i-1].info.MaxSeq < list[i].info.MinSeq
	}
	var out []*segFile
	next := tx.first
	for _, f := range list {
		path := filepath.Join(folder, f.name)
		var seg *segFile
		var err error
		if regular {
			seg, err = s.moveStaged(t, path, f.info)
		} else {
			seg, err = s.renumber(ctx, t, path, f.info, next)
			next += uint64(f.info.Rows)
		}
		if err != nil {
			return out, ErrStaged.Wrap(err, "file %s for table %s", f.name, t.Name)
		}
		out = append(out, seg)
	}
	return out, nil
}

// inspect reads a staged file through its numbers and times, and compares its columns with the table's.
func (s *Store) inspect(ctx context.Context, path string, schema manifest.Schema) (info segment.Info, ascending bool, err error) {
	r, err := s.openSegment(path)
	if err != nil {
		return info, false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, c := range r.Columns() {
		if c.Name == rows.IDColumn {
			return info, false, ErrStaged.New("column %s is the store's own", c.Name)
		}
		typ := typeOf(schema, c.Name)
		if typ == rows.Facet {
			typ = rows.String
		}
		if typ != 0 && typ != c.Type {
			return info, false, ErrStaged.New("column %s is %s, the table has %s", c.Name, rows.TypeName(c.Type), rows.TypeName(typ))
		}
	}
	for _, k := range schema.Keys {
		if !slices.ContainsFunc(r.Columns(), func(c rows.Column) bool { return c.Name == k }) {
			return info, false, ErrStaged.New("primary key %s is missing", k)
		}
	}
	info.Columns = r.Columns()
	ascending = true
	// Every column is read once, so that a damaged file is refused now and not by a reader later.
	err = r.Scan(ctx, nil, segment.Range{}, func(p *rows.Rows) error {
		for i, q := range p.Seq {
			t := p.Time[i]
			if info.Rows == 0 {
				info.MinSeq, info.MaxSeq, info.MinTime, info.MaxTime = uint64(q), uint64(q), t, t
			} else {
				ascending = ascending && q > int64(info.MaxSeq)
				info.MaxSeq = uint64(q)
				info.MinTime, info.MaxTime = min(info.MinTime, t), max(info.MaxTime, t)
			}
			ascending = ascending && q >= 0
			info.Rows++
		}
		return nil
	})
	return info, ascending, err
}

func (s *Store) openSegment(path string) (*segment.Reader, error) {
	f, err := s.opts.FS.Open(path)
	if err != nil {
		return nil, err
	}
	return segment.Open(f)
}

// takeCopy replaces a staged file by a copy that is this process's own, on disk; where the file system can, they share their blocks.
func takeCopy(path string) (own string, err error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer from.Close()
	own = path + ".own"
	to, err := os.OpenFile(own, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o440)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from) // copy_file_range
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return "", errors.Join(err, os.Remove(own))
	}
	return own, os.Remove(path)
}

// moveStaged makes a staged file a segment as it is.
func (s *Store) moveStaged(t *table, path string, info segment.Info) (*segFile, error) {
	f, err := s.opts.FS.Open(path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Datasync(), f.Close()); err != nil {
		return nil, err
	}
	// Nobody may write into it any more, not even who staged it: a file of another user's is copied, because its owner could.
	if err := os.Chmod(path, 0o440); errors.Is(err, fs.ErrPermission) {
		path, err = takeCopy(path)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	id, rel := s.newSegment(t)
	to := s.segmentPath(rel)
	if err := s.makeFolder(to); err != nil {
		return nil, err
	}
	if err := s.opts.FS.Rename(path, to); err != nil {
		return nil, err
	}
	if err := s.syncFolder(rel); err != nil {
		return nil, err
	}
	return &segFile{Segment: manifest.Segment{ID: id, Path: rel, Info: info}}, nil
}

// renumber writes a staged file anew, its rows numbered from first on.
func (s *Store) renumber(ctx context.Context, t *table, path string, info segment.Info, first uint64) (*segFile, error) {
	r, err := s.openSegment(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out, err := s.newSegmentWriter(t, info.Columns)
	if err != nil {
		return nil, err
	}
	next := int64(first)
	err = r.Scan(ctx, nil, segment.Range{}, func(p *rows.Rows) error {
		q := &rows.Rows{Seq: make([]int64, p.Len()), Time: p.Time, Cols: p.Cols}
		for i := range q.Seq {
			q.Seq[i] = next
			next++
		}
		return out.append(q, noDead)
	})
	if err != nil {
		return nil, out.abandon(err)
	}
	return out.close(0)
}
