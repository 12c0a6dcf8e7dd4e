package databridge

import "carbonado.dev/sdk/databridge/streamdef"

// The protocol writes a null of any type as the string "_null" and leaves the attribute's own list short. Which attributes
// are null is then a puzzle: a "_null" may stand for an attribute that is no string, or be the null of a later string. solve
// searches for the readings under which every list comes out even and every stream id is known. Exactly one is the answer;
// two are refused, because the wire does not say which is right.

// solveSteps bounds the search in attributes passed; bundles of 200 events need some ten thousand.
const solveSteps = 1 << 20

// spot is a place in the search: before an attribute.
type spot struct {
	cursor
	event, attr, k int
}

// branch is a spot on the present path at which the attribute may be null.
type branch struct {
	at     spot
	layout *Layout
	null   bool // the side that the path takes
	last   bool // there is no other side, or it was tried
}

type solver struct {
	b    *Bundle
	find Finder
	at   spot
	l    *Layout // of the event at; nil before its stream id
	path []branch
	// seen: branches that were searched wholly or lie on a reading; true if a reading goes through.
	seen  map[spot]bool
	steps int
}

type outcome int

const (
	dead outcome = iota
	reached
	gaveUp
)

// solve answers which attributes are null, or nil if there is no reading.
func (b *Bundle) solve(find Finder) (nullness, error) {
	s := &solver{b: b, find: find, seen: map[spot]bool{}}
	var found map[int]bool
	var flipped branch
	for {
		switch s.forward() {
		case gaveUp:
			return nil, ErrAmbiguous.New("a bundle of %d events has so many nulls that the search for their attributes was ended", b.Events)
		case reached:
			if found != nil {
				return nil, ErrAmbiguous.New("event %d of %d, stream %s: attribute %s may be null or not", flipped.at.event+1, b.Events, flipped.layout.ID, flipped.layout.attrs[flipped.at.attr].name)
			}
			found = map[int]bool{}
			for _, p := range s.path {
				s.seen[p.at] = true
				found[p.at.k] = p.null
			}
		}
		for len(s.path) > 0 && s.path[len(s.path)-1].last {
			p := s.path[len(s.path)-1]
			if !s.seen[p.at] {
				s.seen[p.at] = false // it is known now that it leads nowhere
			}
			s.path = s.path[:len(s.path)-1]
		}
		if len(s.path) == 0 {
			break
		}
		p := &s.path[len(s.path)-1]
		p.last, p.null = true, !p.null
		flipped = *p
		s.at, s.l = p.at, p.layout
		s.pass(s.l.attrs[s.at.attr].typ, p.null)
	}
	if found == nil {
		return nil, nil
	}
	return func(k int) bool { return found[k] }, nil
}

// pass goes over one attribute.
func (s *solver) pass(t streamdef.Type, null bool) {
	if null {
		s.at.strings++
	} else {
		at, _ := s.b.list(&s.at.cursor, t)
		*at++
	}
	s.at.attr++
	s.at.k++
}

// forward goes on until the bundle's end, a dead end, or a branch whose outcome is known.
func (s *solver) forward() outcome {
	for {
		if s.steps++; s.steps > solveSteps {
			return gaveUp
		}
		if s.l != nil && s.at.attr == len(s.l.attrs) {
			s.at.event, s.at.attr, s.l = s.at.event+1, 0, nil
		}
		if s.l == nil {
			if s.at.event == s.b.Events {
				if s.b.allUsed(&s.at.cursor) != nil {
					return dead
				}
				return reached
			}
			if s.at.strings >= len(s.b.strings) || s.at.longs >= s.b.longCount() {
				return dead
			}
			if s.l = s.find(s.b.at(s.b.strings[s.at.strings])); s.l == nil {
				return dead
			}
			s.at.strings++
			s.at.longs++
			continue
		}
		t := s.l.attrs[s.at.attr].typ
		at, n := s.b.list(&s.at.cursor, t)
		hasValue := *at < n
		canBeNull := t != streamdef.String && s.b.isNullText(s.at.strings)
		switch {
		case canBeNull:
			if known, ok := s.seen[s.at]; ok {
				if known {
					return reached
				}
				return dead
			}
			s.path = append(s.path, branch{at: s.at, layout: s.l, null: true, last: !hasValue})
			s.pass(t, true)
		case hasValue:
			s.pass(t, false)
		default:
			return dead
		}
	}
}
