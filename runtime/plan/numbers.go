package plan

// numbers give names numbers from 0 in the order in which they come.
type numbers map[string]int32

// of gives the number of a name, and whether it is the first time.
func (n numbers) of(name string) (number int32, isNew bool) {
	number, known := n[name]
	if !known {
		number = int32(len(n))
		n[name] = number
	}
	return number, !known
}

// groups are lists of numbers in one piece.
type groups struct {
	starts []int32 // of each list, and the end of the last
	all    []int32
}

// grouped lists, for each of so many keys, the places that have it, in their order.
func grouped(keys, places int, keyOf func(place int) int32) groups {
	// What is counted two ahead, and summed, is where the key one ahead is filled in, and stands in its own place when all are.
	g := groups{starts: make([]int32, keys+2), all: make([]int32, places)}
	for i := range places {
		g.starts[keyOf(i)+2]++
	}
	for k := 2; k < len(g.starts); k++ {
		g.starts[k] += g.starts[k-1]
	}
	for i := range places {
		at := &g.starts[keyOf(i)+1]
		g.all[*at] = int32(i)
		*at++
	}
	g.starts = g.starts[:keys+1]
	return g
}

// of is the list of a key.
func (g *groups) of(key int32) []int32 { return g.all[g.starts[key]:g.starts[key+1]] }
