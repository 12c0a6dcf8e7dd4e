package segment

import (
	"encoding/binary"
	"io"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/dict"
	"carbonado.dev/carbonado/components/indexing/postings"
)

// Dictionaries up to this size wait in memory while the postings are written.
const spoolLimit = 4 << 20

// Writer writes a segment file field by field, without ever holding more than a dictionary index of it. Fields come in
// ascending order of name. Errors stick until Close. Not safe for concurrent use.
type Writer struct {
	c      *codec.Writer
	folder string
	docs   int
	fields []Field
	buf    []byte
}

// NewWriter writes to w a segment of docs documents. Large dictionaries spill to unlinked files in folder.
func NewWriter(w io.Writer, folder string, docs int) *Writer {
	return &Writer{c: codec.NewWriter(w), folder: folder, docs: docs}
}

func (w *Writer) field(name string, kind Kind) uint32 {
	w.fields = append(w.fields, Field{Name: name, Kind: kind})
	return uint32(len(w.fields) - 1)
}

// Column begins a numeric field; the caller adds docs rows and calls its Finish, then EndColumn.
func (w *Writer) Column(name string, kind Kind) *column.Writer {
	n := w.field(name, kind)
	w.c.Begin(sectionColumn, column.Version, n)
	return column.NewWriter(w.c)
}

// EndColumn ends what Column began. present is the number of rows with a value.
func (w *Writer) EndColumn(present uint32) {
	w.c.End()
	w.fields[len(w.fields)-1].Docs = present
}

// Terms writes the dictionary and the postings of a text or keyword field.
type Terms struct {
	w     *Writer
	n     uint32
	spool *codec.Spool
	dict  *dict.Writer
	lists *postings.Writer
	base  uint64 // of the dictionary's present block
	added bool
}

// Terms begins a text or keyword field.
func (w *Writer) Terms(name string, kind Kind) *Terms {
	n := w.field(name, kind)
	spool := codec.NewSpool(w.folder, spoolLimit)
	w.c.Begin(sectionPostings, postings.Version, n)
	return &Terms{w: w, n: n, spool: spool, dict: dict.NewWriter(spool),
		lists: postings.NewWriter(w.c, postings.Format{Freqs: kind == Text})}
}

// Start begins a term's list.
func (t *Terms) Start() { t.lists.Start(); t.added = false }

// Add appends a document to the present list (postings.Writer.Add).
func (t *Terms) Add(doc uint32, positions []uint32, length uint32) {
	t.lists.Add(doc, positions, length)
	t.added = true
}

// End ends the list and tells whether the term was kept: a list without documents is not. Terms ascend.
func (t *Terms) End(term []byte) bool {
	if !t.added {
		return false
	}
	if t.dict.AtBlockStart() {
		t.base = t.lists.Offset()
	}
	t.w.buf = t.lists.Finish(t.w.buf[:0], t.base)
	t.dict.Add(term, t.base, t.w.buf)
	return true
}

// Len is the number of terms kept so far.
func (t *Terms) Len() uint32 { return t.dict.Len() }

// Finish writes the dictionary. docs is the number of documents with a value, words the sum of their lengths.
func (t *Terms) Finish(docs uint32, words uint64) error {
	c := t.w.c
	c.End()
	t.dict.Flush()
	c.Begin(sectionTerms, dict.Version, t.n)
	if _, err := t.spool.WriteTo(c); err != nil {
		return err
	}
	c.End()
	c.Begin(sectionIndex, dict.Version, t.n)
	_, _ = c.Write(t.dict.Index())
	c.End()
	f := &t.w.fields[t.n]
	f.Docs, f.Words = docs, words
	return c.Err()
}

// Close gives up what an unfinished field holds.
func (t *Terms) Close() { t.spool.Close() }

// Rows writes one small number per document.
type Rows struct {
	w     *Writer
	width byte
	buf   []byte
}

// Lengths begins the lengths of the text field written last; most is the greatest.
func (w *Writer) Lengths(most uint32) *Rows { return w.rows(sectionLengths, most) }

// Ordinals begins the ordinals of the keyword field written last; most is the greatest.
func (w *Writer) Ordinals(most uint32) *Rows { return w.rows(sectionOrdinals, most) }

func (w *Writer) rows(kind codec.Kind, most uint32) *Rows {
	r := &Rows{w: w, width: 4}
	switch {
	case most < 1<<8:
		r.width = 1
	case most < 1<<16:
		r.width = 2
	}
	w.c.Begin(kind, rowsVersion, uint32(len(w.fields)-1))
	r.buf = append(r.buf, r.width)
	return r
}

// Put appends the next document's number.
func (r *Rows) Put(v uint32) {
	switch r.width {
	case 1:
		r.buf = append(r.buf, byte(v))
	case 2:
		r.buf = binary.LittleEndian.AppendUint16(r.buf, uint16(v))
	default:
		r.buf = binary.LittleEndian.AppendUint32(r.buf, v)
	}
	if len(r.buf) >= 8<<10 {
		_, _ = r.w.c.Write(r.buf)
		r.buf = r.buf[:0]
	}
}

// End ends the rows.
func (r *Rows) End() {
	_, _ = r.w.c.Write(r.buf)
	r.w.c.End()
}

// Close writes the meta section and the directory and returns the file's size and sum (codec.Writer.Close).
func (w *Writer) Close() (size uint64, sum uint32, err error) {
	p := binary.AppendUvarint(nil, uint64(w.docs))
	p = binary.AppendUvarint(p, uint64(len(w.fields)))
	for _, f := range w.fields {
		p = append(p, byte(f.Kind))
		p = binary.AppendUvarint(p, uint64(len(f.Name)))
		p = append(p, f.Name...)
		p = binary.AppendUvarint(p, uint64(f.Docs))
		p = binary.AppendUvarint(p, f.Words)
	}
	w.c.Begin(sectionMeta, metaVersion, 0)
	_, _ = w.c.Write(p)
	w.c.End()
	return w.c.Close()
}
