package depsync

import (
	"context"
	"errors"
	"slices"

	"carbonado.dev/carbonado/runtime/cluster"
)

// attempts is how often a key that others write too is tried.
const attempts = 8

// report says which generation this node has, if that is news.
func (n *Node) report(ctx context.Context) error {
	n.mu.Lock()
	r := Report{Node: n.id, Generation: n.kept.Base.Generation, Digest: n.kept.Base.Digest, Time: n.kept.At}
	problem := n.problem
	n.mu.Unlock()
	if problem != nil && !errors.Is(problem, cluster.ErrUnavailable) && !errors.Is(problem, ErrChanging) { // both are over before others read it
		r.Problem = problem.Error()
	}
	if err := n.enlist(ctx); err != nil {
		return err
	}
	for range attempts {
		var old Report
		version, err := n.get(ctx, keyNode(n.id), &old)
		if err != nil || version > 0 && old == r {
			return err
		}
		if err := n.set(ctx, keyNode(n.id), r, version); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return cluster.ErrConflict.New("the report of %s is written by another too", n.id)
}

// enlist puts this node on the list of those that report. One that is alone takes off those that it was before.
func (n *Node) enlist(ctx context.Context) error {
	for range attempts {
		var list []string
		version, err := n.get(ctx, keyNodes, &list)
		if err != nil || slices.Contains(list, n.id) && (!n.alone || len(list) == 1) {
			return err
		}
		next := []string{n.id}
		if !n.alone {
			next = slices.Concat(list, next)
			slices.Sort(next)
		}
		if err := n.set(ctx, keyNodes, next, version); !errors.Is(err, cluster.ErrConflict) {
			return err
		}
	}
	return cluster.ErrConflict.New("the list of nodes changes all the time")
}

// Nodes are all that ever reported and all members, ordered by id.
func (n *Node) Nodes(ctx context.Context) ([]NodeState, error) {
	p, _, err := n.pointer(ctx)
	if err != nil {
		return nil, err
	}
	var pin committer
	if _, err := n.get(ctx, keyCommitter, &pin); err != nil {
		return nil, err
	}
	var ids []string
	if _, err := n.get(ctx, keyNodes, &ids); err != nil {
		return nil, err
	}
	c, cancel := context.WithTimeout(ctx, n.times.Call)
	defer cancel()
	members, err := n.c.Members(c)
	if err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, m := range members {
		addresses[m.NodeID] = m.Address
		ids = append(ids, m.NodeID)
	}
	slices.Sort(ids)
	var out []NodeState
	for _, id := range slices.Compact(ids) {
		s := NodeState{Report: Report{Node: id}, Committer: id == pin.Node}
		if _, err := n.get(ctx, keyNode(id), &s.Report); err != nil {
			return nil, err
		}
		s.Address, s.Member = addresses[id]
		if s.Digest != p.Digest && p.Generation > s.Generation {
			s.Behind = p.Generation - s.Generation
		}
		out = append(out, s)
	}
	return out, nil
}
