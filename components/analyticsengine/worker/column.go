package worker

// kind is how the values of a column travel.
type kind uint8

const (
	// mixed values travel each with its type, which costs four times as much.
	mixed kind = iota
	ints32
	ints64
	floats
	texts
)

// column is a column of a batch of rows.
type column struct {
	Kind kind
	// Null marks values that are nil; empty if there is none. Mixed columns hold their nils themselves.
	Null   []bool
	Ints   []int64
	Floats []float64
	Texts  []string
	Mixed  []any
}

// kindOf is the kind of a value.
func kindOf(v any) kind {
	switch v.(type) {
	case int32:
		return ints32
	case int64:
		return ints64
	case float64:
		return floats
	case string:
		return texts
	}
	return mixed
}

// pack turns rows into columns.
func pack(rows [][]any) []column {
	if len(rows) == 0 {
		return nil
	}
	out := make([]column, len(rows[0]))
	for i := range out {
		out[i] = packOne(rows, i)
	}
	return out
}

func packOne(rows [][]any, i int) column {
	var c column
	nulls := false
	for _, row := range rows {
		switch k := kindOf(row[i]); {
		case row[i] == nil:
			nulls = true
		case c.Kind == mixed && k != mixed:
			c.Kind = k
		case k == mixed || k != c.Kind:
			return packMixed(rows, i)
		}
	}
	if c.Kind == mixed {
		return packMixed(rows, i)
	}
	if nulls {
		c.Null = make([]bool, len(rows))
	}
	for n, row := range rows {
		if row[i] == nil {
			c.Null[n] = true
		}
		switch c.Kind {
		case ints32:
			v, _ := row[i].(int32)
			c.Ints = append(c.Ints, int64(v))
		case ints64:
			v, _ := row[i].(int64)
			c.Ints = append(c.Ints, v)
		case floats:
			v, _ := row[i].(float64)
			c.Floats = append(c.Floats, v)
		case texts:
			v, _ := row[i].(string)
			c.Texts = append(c.Texts, v)
		}
	}
	return c
}

func packMixed(rows [][]any, i int) column {
	c := column{Mixed: make([]any, len(rows))}
	for n, row := range rows {
		c.Mixed[n] = row[i]
	}
	return c
}

// at is the value of row n.
func (c *column) at(n int) any {
	if n < len(c.Null) && c.Null[n] {
		return nil
	}
	switch c.Kind {
	case ints32:
		return int32(c.Ints[n])
	case ints64:
		return c.Ints[n]
	case floats:
		return c.Floats[n]
	case texts:
		return c.Texts[n]
	}
	return c.Mixed[n]
}
