package plan

import "slices"

// turn is where a node stands on the way to the start.
type turn struct {
	// key is the start level, and below it the place among the names: the less, the earlier.
	key int64
	// unmet counts the wants that lack providers, and one more where the node can't run whatever others do.
	unmet int32
	// served counts the fits, and the shares that the node uses, whose owners run; wishes is how many these will be when all run that can.
	served, wishes int32
	// order is the place from 1 among those that run.
	order               int32
	queued, runs, lasts bool
}

// rank is the node's place among the names, from 0; that of the kernel comes before.
func (t *turn) rank() int32 { return rankOf(t.key) }

// keyOf makes a key of a start level and a place among the names; rankOf gives the latter back.
func keyOf(level, rank int) int64 { return int64(level)<<32 | int64(rank) }
func rankOf(key int64) int32      { return int32(key) }

// last finds who may go on, should it run: all that would start if nothing were needed at the start only.
func (b *builder) last() {
	if slices.ContainsFunc(b.wants, func(w want) bool { return w.atStart }) {
		b.reach(true)
	} // otherwise start finds the same
}

// reach finds who can run: a component may once each of its mandatory references has the providers that it asks for. What is never reached
// lacks one, or stands in a circle. lasting: what is needed at the start only does not count.
func (b *builder) reach(lasting bool) {
	ready := make([]int32, 0, len(b.sorted))
	wake := func(n int32) {
		if t := &b.turns[n]; !t.queued {
			t.queued, t.lasts = true, true // who can start can go on
			ready = append(ready, n)
		}
	}
	b.begin(lasting, wake)
	for i := 0; i < len(ready); i++ {
		b.run(ready[i], wake)
	}
}

// start finds who runs, one at a time, and gives their number. Of those that are ready, the first by start level, then name, is next whose
// wishes are met: all that it could be wired to and the owners of the shares that it uses run, as far as they can. Where there is none such,
// the wishes make a circle, and the first of all is next.
func (b *builder) start() (running int) {
	b.reach(false)
	for i := range b.turns {
		b.turns[i].wishes = b.turns[i].served
	}
	var best, rest queue
	wake := func(n int32) {
		t := &b.turns[n]
		switch {
		case t.runs:
		case t.served == t.wishes:
			best.push(t.key)
		case !t.queued:
			t.queued = true
			rest.push(t.key)
		}
	}
	b.begin(false, wake)
	for len(best)+len(rest) > 0 {
		from := &best
		if len(best) == 0 {
			from = &rest
		}
		n := b.sorted[rankOf(from.pop())]
		if t := &b.turns[n]; !t.runs { // it may have stood in both
			running++
			t.order = int32(running)
			b.run(n, wake)
		}
	}
	return running
}

// begin has the kernel run and nobody else, and wakes all that need nobody else.
func (b *builder) begin(lasting bool, wake func(n int32)) {
	for i := range b.turns {
		t := &b.turns[i]
		t.unmet, t.served, t.queued, t.runs = 0, 0, false, false
		if b.nodes[i].own != nil {
			t.unmet = 1
		}
	}
	for i := range b.wants {
		w := &b.wants[i]
		if w.lacks = w.min; lasting && w.atStart {
			w.lacks = 0
		}
		if w.lacks > 0 {
			b.turns[w.node].unmet++
		}
	}
	b.run(kernel, func(int32) {})
	for n := range int32(len(b.turns)) {
		if n != kernel && b.turns[n].unmet == 0 {
			wake(n)
		}
	}
}

// run has a node run, and wakes those that it serves and that lack nothing. How many registrations a dynamic offer will bring is not known:
// it counts as all.
func (b *builder) run(n int32, wake func(n int32)) {
	b.turns[n].runs = true
	for _, i := range b.users.of(n) {
		f := b.fits[i]
		w := &b.wants[f.want]
		t := &b.turns[w.node]
		t.served++
		if w.lacks > 0 {
			if w.lacks--; b.offers[f.offer].dynamic {
				w.lacks = 0
			}
			if w.lacks == 0 {
				t.unmet--
			}
		}
		if t.unmet == 0 {
			wake(w.node)
		}
	}
	for _, u := range b.sharers[n] {
		t := &b.turns[u]
		if t.served++; t.unmet == 0 {
			wake(u)
		}
	}
}

// queue is a heap of keys, the least first.
type queue []int64

func (q *queue) push(key int64) {
	*q = append(*q, key)
	h := *q
	at := len(h) - 1
	for at > 0 {
		above := (at - 1) / 2
		if h[above] <= key {
			break
		}
		h[at] = h[above]
		at = above
	}
	h[at] = key
}

func (q *queue) pop() int64 {
	h := *q
	least, key := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	for at := 0; len(h) > 0; {
		below := 2*at + 1
		if below+1 < len(h) && h[below+1] < h[below] {
			below++
		}
		if below >= len(h) || key <= h[below] {
			h[at] = key
			break
		}
		h[at] = h[below]
		at = below
	}
	return least
}
