package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"carbonado.dev/carbonado/bench/bare"
	"carbonado.dev/carbonado/bench/server"
)

// bands is how many artists measureStart has: with five albums each and three tracks an album that is 63 processes.
const bands = 3

// measureStart is 63 real components, wired as artists, albums and tracks, from exec of the kernel to all ACTIVE, against as many bare
// go-plugin plugins started in parallel.
func measureStart(o options) (err error) {
	i, err := layMusic(o.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Remove()) }()
	ctx := context.Background()
	var ratios []float64
	var took, plain time.Duration
	for n := range o.rounds + 1 {
		r, err := i.Start(ctx)
		if err != nil {
			return err
		}
		pids, err := i.Processes(ctx)
		if err := errors.Join(err, r.Stop()); err != nil {
			return err
		}
		if components := len(pids) - server.Own; components != 21*bands {
			return fmt.Errorf("%d components run", components)
		}
		took = r.Took
		if plain, err = bare.Start(21 * bands); err != nil {
			return err
		}
		if n > 0 { // the first makes keys and folders
			ratios = append(ratios, took.Seconds()/plain.Seconds())
		}
	}
	slices.Sort(ratios)
	print("start-63", ratios[len(ratios)/2], 3, "63 components to all ACTIVE against 63 bare go-plugin starts; the last pair took %s and %s", took.Round(time.Millisecond), plain.Round(time.Millisecond))
	return nil
}

// layMusic makes an installation that has only the components of the music graph.
func layMusic(root string) (*server.Installation, error) {
	i, err := server.LayEmpty(root)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*server.Installation, error) { return nil, errors.Join(err, i.Remove()) }
	work := filepath.Join(filepath.Dir(i.Home), "packages")
	exe := filepath.Join(work, "music")
	if err := build(root, exe, "./bench/music"); err != nil {
		return fail(err)
	}
	for a := range bands {
		artist := fmt.Sprintf("Artist%d", a)
		if err := i.Package(exe, artist, node(artist, "")); err != nil {
			return fail(err)
		}
		for b := range 5 {
			album := fmt.Sprintf("Album%d%d", a, b)
			if err := i.Package(exe, album, node(album, artist)); err != nil {
				return fail(err)
			}
			for t := range 3 {
				track := fmt.Sprintf("Track%d%d%d", a, b, t)
				if err := i.Package(exe, track, node(track, album)); err != nil {
					return fail(err)
				}
			}
		}
	}
	return i, nil
}

const musicService = "carbonado.analytics.v1.Authorizer"

// node is the descriptor of one node of the graph.
func node(name, needs string) string {
	text := fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: a node of the graph\nexecutable: bin/%s\nprovides: [{service: %s, version: 1.0.0, properties: {id: %s}}]\n", name, name, musicService, name)
	if needs != "" {
		text += fmt.Sprintf("requires: [{name: of, service: %s, cardinality: 1..1, filter: {id: %s}}]\n", musicService, needs)
	}
	return text
}
