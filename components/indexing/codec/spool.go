package codec

import (
	"io"
	"os"
)

// Spool holds bytes that belong to a later section than the one being written: in memory up to a limit, then in an unlinked
// file of the given folder. Errors stick. Not safe for concurrent use.
type Spool struct {
	folder string
	limit  int
	mem    []byte
	file   *os.File
	size   uint64
	err    error
}

// NewSpool keeps at most limit bytes in memory.
func NewSpool(folder string, limit int) *Spool { return &Spool{folder: folder, limit: limit} }

// Size is the number of bytes written.
func (s *Spool) Size() uint64 { return s.size }

// Write never fails at once: WriteTo returns the first error.
func (s *Spool) Write(p []byte) (int, error) {
	s.size += uint64(len(p))
	s.mem = append(s.mem, p...)
	if len(s.mem) >= s.limit {
		s.spill()
	}
	return len(p), nil
}

func (s *Spool) spill() {
	if s.err != nil {
		s.mem = s.mem[:0]
		return
	}
	if s.file == nil {
		if s.file, s.err = os.CreateTemp(s.folder, "spool-*.tmp"); s.err != nil {
			return
		}
		if s.err = os.Remove(s.file.Name()); s.err != nil {
			return
		}
	}
	_, s.err = s.file.Write(s.mem)
	s.mem = s.mem[:0]
}

// WriteTo copies everything to w, empties the spool and closes its file.
func (s *Spool) WriteTo(w io.Writer) (int64, error) {
	defer s.Close()
	if s.err != nil {
		return 0, s.err
	}
	var n int64
	if s.file != nil {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		m, err := io.Copy(w, s.file)
		if n = m; err != nil {
			return n, err
		}
	}
	m, err := w.Write(s.mem)
	return n + int64(m), err
}

// Close gives the file up; a spool that was never used needs none.
func (s *Spool) Close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	s.mem, s.size = nil, 0
}
