package worker

import (
	"reflect"
	"testing"
)

func TestColumns(t *testing.T) {
	rows := [][]any{
		{nil, int32(1), int64(1), 1.5, "a", nil, int64(1), int32(7), nil},
		{nil, int32(0), nil, 0.0, "", "late", "one", nil, []byte{1}},
		{nil, nil, int64(0), nil, nil, nil, nil, int64(7), nil},
	}
	cols := pack(rows)
	for n, row := range rows {
		for i, want := range row {
			if got := cols[i].at(n); !reflect.DeepEqual(got, want) {
				t.Errorf("row %d column %d is %#v, want %#v", n, i, got, want)
			}
		}
	}
	for i, want := range []kind{mixed, ints32, ints64, floats, texts, texts, mixed, mixed, mixed} {
		if cols[i].Kind != want {
			t.Errorf("column %d is of kind %d, want %d", i, cols[i].Kind, want)
		}
	}
}
