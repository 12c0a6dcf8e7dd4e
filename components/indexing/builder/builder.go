// Package builder collects documents in memory and writes them as a segment. It must not know files, commits or deletes.
package builder

import (
	"slices"
	"strings"

	"carbonado.dev/carbonado/components/indexing/analysis"
	"carbonado.dev/carbonado/components/indexing/segment"
)

// Builder collects documents. It keeps its memory from one segment to the next. Not safe for concurrent use.
type Builder struct {
	analyzer *analysis.Analyzer
	fields   []*Field
	byName   map[string]*Field
	seq      *Field
	time     *Field
	docs     uint32
}

// New makes an empty builder.
func New(a *analysis.Analyzer) *Builder {
	b := &Builder{analyzer: a, byName: map[string]*Field{}}
	b.seq = b.Field(segment.Seq, segment.Int)
	b.time = b.Field(segment.Time, segment.Int)
	return b
}

// Docs is the number of documents collected.
func (b *Builder) Docs() int { return int(b.docs) }

// Bytes is about how much memory the documents take.
func (b *Builder) Bytes() int {
	n := 0
	for _, f := range b.fields {
		n += len(f.terms.arena) + 12*len(f.terms.hashes) + 12*len(f.tokens) + 8*len(f.nums) + 4*len(f.perDoc)
	}
	return n
}

// Field is the field of that name and kind, made if need be. A name has one kind in a segment: with another kind the
// answer is nil.
func (b *Builder) Field(name string, kind segment.Kind) *Field {
	if f := b.byName[name]; f != nil {
		if f.kind != kind {
			return nil
		}
		return f
	}
	f := &Field{name: name, kind: kind, b: b, terms: newTerms()}
	b.byName[name] = f
	b.fields = append(b.fields, f)
	return f
}

// Add begins a document and returns its number.
func (b *Builder) Add(seq uint64, time int64) uint32 {
	doc := b.docs
	b.docs++
	b.seq.AddNumber(doc, int64(seq))
	b.time.AddNumber(doc, time)
	return doc
}

// keepBytes is how large a builder may be to keep its memory.
const keepBytes = 8 << 20

// Reset forgets the documents.
func (b *Builder) Reset() {
	if b.Bytes() > keepBytes {
		b.Forget()
		return
	}
	b.docs = 0
	for _, f := range b.fields {
		f.reset()
	}
}

// Forget drops fields too, for a schema that changed.
func (b *Builder) Forget() {
	b.docs, b.fields, b.byName = 0, nil, map[string]*Field{}
	b.seq = b.Field(segment.Seq, segment.Int)
	b.time = b.Field(segment.Time, segment.Int)
}

// WriteTo writes the documents as a segment. They stay until Reset.
func (b *Builder) WriteTo(w *segment.Writer) error {
	fields := slices.Clone(b.fields)
	slices.SortFunc(fields, func(x, y *Field) int { return strings.Compare(x.name, y.name) })
	for _, f := range fields {
		if f.docs == 0 {
			continue
		}
		var err error
		switch f.kind {
		case segment.Text:
			err = f.writeText(w)
		case segment.Keyword:
			err = f.writeKeyword(w)
		default:
			f.writeNumbers(w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type token struct{ term, doc, pos uint32 }

// Field collects the values of one field. Documents come in ascending order.
type Field struct {
	b      *Builder
	name   string
	kind   segment.Kind
	docs   uint32
	words  uint64
	terms  *terms
	tokens []token
	// perDoc is the length of a text, or one more than the term of a keyword; documents without a value at the end are left out.
	perDoc  []uint32
	nums    []int64
	missing []uint32 // documents without a number, below len(nums)

	order  []sortKey
	rank   []uint32
	starts []uint32
	sorted []token
	pos    []uint32
}

func (f *Field) reset() {
	f.docs, f.words = 0, 0
	f.terms.reset()
	f.tokens, f.perDoc, f.nums, f.missing = f.tokens[:0], f.perDoc[:0], f.nums[:0], f.missing[:0]
}

// AddNumber adds a number (as package column has it).
func (f *Field) AddNumber(doc uint32, v int64) {
	for uint32(len(f.nums)) < doc {
		f.missing = append(f.missing, uint32(len(f.nums)))
		f.nums = append(f.nums, 0)
	}
	f.nums = append(f.nums, v)
	f.docs++
}

func (f *Field) pad(doc uint32) {
	for uint32(len(f.perDoc)) < doc {
		f.perDoc = append(f.perDoc, 0)
	}
}

// AddText adds a text by its words.
func (f *Field) AddText(doc uint32, text []byte) {
	a := f.b.analyzer
	a.Reset(text)
	n := uint32(0)
	for {
		word, pos, ok := a.Next()
		if !ok {
			break
		}
		f.tokens = append(f.tokens, token{f.terms.id(word), doc, pos})
		n++
	}
	if n == 0 {
		return
	}
	f.pad(doc)
	f.perDoc = append(f.perDoc, n)
	f.docs++
	f.words += uint64(n)
}

// AddKeyword adds a whole value.
func (f *Field) AddKeyword(doc uint32, value []byte) {
	id := f.terms.id(analysis.Keyword(value))
	f.tokens = append(f.tokens, token{term: id, doc: doc})
	f.pad(doc)
	f.perDoc = append(f.perDoc, id+1)
	f.docs++
}

// AddPath adds a path whose steps are separated by commas: itself, which is the document's value, and every path above it.
func (f *Field) AddPath(doc uint32, path []byte) {
	path = analysis.Keyword(path)
	for i, c := range path {
		if c == ',' && i > 0 {
			f.tokens = append(f.tokens, token{term: f.terms.id(path[:i]), doc: doc})
		}
	}
	f.AddKeyword(doc, path)
}
