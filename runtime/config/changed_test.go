package config_test

import (
	"slices"
	"testing"

	"carbonado.dev/carbonado/runtime/config"
)

func TestChangedNamesTheKeys(t *testing.T) {
	of := func(text string) *config.Component { return config.Given("X", []byte(text)) }
	for _, c := range []struct {
		a, b *config.Component
		want []string
	}{
		{of(`{"a":1,"b":{"c":2}}`), of(`{"a":1,"b":{"c":2}}`), nil},
		{of(`{"a":1,"b":{"c":2}}`), of(`{"a":1,"b":{"c":3}}`), []string{"b"}},
		{of(`{"a":1,"gone":0}`), of(`{"a":2,"new":0}`), []string{"a", "gone", "new"}},
		{nil, of(`{"a":1}`), []string{"a"}},
		{of(`?`), of(`{"a":1}`), []string{config.AnyKey}},
	} {
		if got := config.Changed(c.a, c.b); !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}
