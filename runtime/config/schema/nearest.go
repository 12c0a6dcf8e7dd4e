package schema

import "strings"

// Nearest gives the name that word was probably meant to be: equal but for case, or at most two edits away and not
// altogether different. It is empty if there is none.
func Nearest(word string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if strings.EqualFold(n, word) {
			return n
		}
		if d := distance(strings.ToLower(word), strings.ToLower(n)); d < least && d*3 < len(n) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the edits (insert, delete, replace, swap of neighbours) that lead from a to b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	older, old, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			replace := old[j-1]
			if x[i-1] != y[j-1] {
				replace++
			}
			row[j] = min(replace, old[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old, row = old, row, older
	}
	return old[len(y)]
}
