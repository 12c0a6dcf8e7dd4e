// Package segment is one immutable file of documents: fields with terms, postings, lengths, ordinals and columns. It must not
// know which segments make up an index, nor which documents are deleted.
package segment

import (
	"encoding/binary"

	"carbonado.dev/carbonado/components/indexing/codec"
	"carbonado.dev/carbonado/components/indexing/column"
	"carbonado.dev/carbonado/components/indexing/dict"
	"carbonado.dev/carbonado/components/indexing/postings"
)

// Seq and Time are the fields that every document has: its row's place in the store, and its time in milliseconds since 1970.
const (
	Seq  = "_seq"
	Time = "_timestamp"
)

// Kind says what a field holds. The numbers are on disk.
type Kind uint8

const (
	// Text is words with frequencies and positions.
	Text Kind = 1
	// Keyword is whole values, with the number of a document's value in row order.
	Keyword Kind = 2
	// Int is 64-bit integers.
	Int Kind = 3
	// Float32 and Float64 are floats as integers of the same order (package column).
	Float32 Kind = 4
	Float64 Kind = 5
)

// Numeric tells whether values stand in a column.
func (k Kind) Numeric() bool { return k >= Int && k <= Float64 }

// Sections of a segment file.
const (
	sectionMeta     codec.Kind = 1
	sectionPostings codec.Kind = 2
	sectionTerms    codec.Kind = 3
	sectionIndex    codec.Kind = 4
	sectionLengths  codec.Kind = 5
	sectionOrdinals codec.Kind = 6
	sectionColumn   codec.Kind = 7

	metaVersion = 1
	rowsVersion = 1
)

// Field is one field of a segment. Safe for concurrent use.
type Field struct {
	Name string
	Kind Kind
	// Docs is the number of documents that have a value.
	Docs uint32
	// Words is the sum of the documents' lengths.
	Words uint64
	// Dict is nil for numbers, Column for all others.
	Dict   *dict.Dict
	Column *column.Column

	format   postings.Format
	postings []byte
	lengths  rows
	ordinals rows
}

// Length is a document's number of words in the field.
func (f *Field) Length(doc uint32) uint32 { return f.lengths.get(doc) }

// Ordinal is one more than the number of a document's value in the dictionary; 0 if it has none.
func (f *Field) Ordinal(doc uint32) uint32 { return f.ordinals.get(doc) }

// List opens the postings of the term the iterator stands on.
func (f *Field) List(it *dict.Iterator) (postings.List, error) {
	base, payload := it.Payload()
	return postings.Open(f.postings, f.format, base, payload)
}

// Find opens the postings of a term; an absent one has the empty list.
func (f *Field) Find(term []byte) (postings.List, error) {
	it := f.Dict.Iterate()
	if !it.Find(term) {
		return postings.List{}, it.Err()
	}
	return f.List(it)
}

// rows is small numbers in row order, in 1, 2 or 4 bytes.
type rows struct {
	data  []byte
	width byte
}

func openRows(p []byte, n int) (rows, error) {
	if len(p) == 0 {
		return rows{}, codec.Damaged("rows without a width")
	}
	r := rows{data: p[1:], width: p[0]}
	if r.width != 1 && r.width != 2 && r.width != 4 || len(r.data) != n*int(r.width) {
		return rows{}, codec.Damaged("%d bytes of width %d for %d rows", len(r.data), r.width, n)
	}
	return r, nil
}

func (r rows) get(i uint32) uint32 {
	switch r.width {
	case 1:
		return uint32(r.data[i])
	case 2:
		return uint32(binary.LittleEndian.Uint16(r.data[2*i:]))
	case 4:
		return binary.LittleEndian.Uint32(r.data[4*i:])
	}
	return 0
}

// Segment reads a segment file. Safe for concurrent use as long as the bytes given to Open stay.
type Segment struct {
	file   *codec.File
	docs   int
	fields []*Field
	byName map[string]*Field
	seq    *column.Column
}

// Open parses a segment file. Checksums of sections are Verify's.
func Open(data []byte) (*Segment, error) {
	file, err := codec.Parse(data)
	if err != nil {
		return nil, err
	}
	s := &Segment{file: file, byName: map[string]*Field{}}
	if err := s.readMeta(); err != nil {
		return nil, err
	}
	for i, f := range s.fields {
		if err := s.openField(f, uint32(i)); err != nil {
			return nil, err
		}
		s.byName[f.Name] = f
	}
	if f := s.byName[Seq]; f == nil || f.Column == nil || !f.Column.Complete() {
		return nil, codec.Damaged("segment without %s", Seq)
	}
	s.seq = s.byName[Seq].Column
	return s, nil
}

func (s *Segment) readMeta() error {
	p, err := s.file.Section(sectionMeta, metaVersion, 0)
	if err != nil {
		return err
	}
	bad := codec.Damaged("segment meta")
	docs, i, ok := codec.Uvarint(p, 0)
	n, i, ok2 := codec.Uvarint(p, i)
	if !ok || !ok2 || int(n) > len(p) {
		return bad
	}
	s.docs = int(docs)
	for range n {
		if i+2 > len(p) {
			return bad
		}
		f := &Field{Kind: Kind(p[i])}
		size, j, ok := codec.Uvarint(p, i+1)
		if !ok || int(size) > len(p)-j {
			return bad
		}
		f.Name = string(p[j : j+int(size)])
		j += int(size)
		if f.Docs, j, ok = codec.Uvarint(p, j); !ok {
			return bad
		}
		words, k := binary.Uvarint(p[j:])
		if k <= 0 {
			return bad
		}
		f.Words, i = words, j+k
		s.fields = append(s.fields, f)
	}
	return nil
}

func (s *Segment) openField(f *Field, n uint32) error {
	get := func(kind codec.Kind, version uint16) ([]byte, error) {
		p, err := s.file.Section(kind, version, n)
		if err == nil && p == nil {
			err = codec.Damaged("field %s lacks section %d", f.Name, kind)
		}
		return p, err
	}
	if f.Kind.Numeric() {
		p, err := get(sectionColumn, column.Version)
		if err != nil {
			return err
		}
		if f.Column, err = column.Open(p); err == nil && f.Column.Rows() != s.docs {
			err = codec.Damaged("column %s has %d rows of %d", f.Name, f.Column.Rows(), s.docs)
		}
		return err
	}
	terms, err := get(sectionTerms, dict.Version)
	if err != nil {
		return err
	}
	index, err := get(sectionIndex, dict.Version)
	if err != nil {
		return err
	}
	if f.Dict, err = dict.Open(terms, index); err != nil {
		return err
	}
	if f.postings, err = get(sectionPostings, postings.Version); err != nil {
		return err
	}
	switch f.Kind {
	case Text:
		f.format = postings.Format{Freqs: true}
		p, err := get(sectionLengths, rowsVersion)
		if err != nil {
			return err
		}
		f.lengths, err = openRows(p, s.docs)
		return err
	case Keyword:
		p, err := get(sectionOrdinals, rowsVersion)
		if err != nil {
			return err
		}
		f.ordinals, err = openRows(p, s.docs)
		return err
	}
	return codec.Damaged("field %s of kind %d", f.Name, f.Kind)
}

// Verify checks every section's sum.
func (s *Segment) Verify() error { return s.file.Verify() }

// Sum is the sum of the file's directory.
func (s *Segment) Sum() uint32 { return s.file.Sum() }

// Docs is the number of documents, deleted ones included.
func (s *Segment) Docs() int { return s.docs }

// Fields are all fields, by name.
func (s *Segment) Fields() []*Field { return s.fields }

// Field is nil if no document of the segment has it.
func (s *Segment) Field(name string) *Field { return s.byName[name] }

// SeqOf is a document's `_seq`.
func (s *Segment) SeqOf(doc uint32) uint64 { return uint64(s.seq.Get(doc)) }

// Find is the document of a row.
func (s *Segment) Find(seq uint64) (doc uint32, ok bool) { return s.seq.Find(int64(seq)) }

// MaxSeq is the greatest `_seq` of all documents.
func (s *Segment) MaxSeq() uint64 {
	_, most := s.seq.MinMax()
	return uint64(most)
}
