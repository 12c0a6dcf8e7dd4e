package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/simulation"
)

// measureGraph is Felix Dependency Manager's benchmark: artists, five albums each, three tracks each, every one needing the one above it
// by a filter on its id; from nothing to all ACTIVE and to nothing again, with processes in memory. Ten small graphs that stand at once are
// against a large one: both touch as much memory, so that what grows is the work.
func measureGraph(o options) error {
	var few, many, started []time.Duration
	for range min(o.rounds, 3) {
		took, _, err := music(30, 10)
		if err != nil {
			return err
		}
		few = append(few, took/10)
		took, active, err := music(300, 1)
		if err != nil {
			return err
		}
		many, started = append(many, took), append(started, active)
	}
	print("graph-growth", median(many).Seconds()/median(few).Seconds(), 12, "630 to 6,300 nodes, to all active and down again; %s and %s, of it %s to all active",
		median(few).Round(time.Millisecond), median(many).Round(time.Millisecond), median(started).Round(time.Millisecond))
	return nil
}

// music brings graphs up, one after the other, and then down.
func music(artists, graphs int) (whole, active time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var worlds []*simulation.World
	for range graphs {
		w, err := newMusic(artists)
		if err != nil {
			return 0, 0, err
		}
		worlds = append(worlds, w)
	}
	warm()
	for _, w := range worlds {
		began := time.Now()
		w.Apply()
		if err := w.Reconciler.WaitSettled(ctx); err != nil {
			return 0, 0, err
		}
		active += time.Since(began)
	}
	for _, w := range worlds {
		for _, v := range w.Reconciler.Views() {
			if v.State != component.Active {
				return 0, 0, fmt.Errorf("%s is %s: %v", v.Name, v.State, v.Cause)
			}
		}
	}
	whole = active
	for _, w := range worlds {
		began := time.Now()
		w.Reconciler.Shutdown(ctx)
		whole += time.Since(began)
		if err := w.Check(); err != nil {
			return 0, 0, err
		}
	}
	return whole, active, nil
}

// newMusic installs a graph.
func newMusic(artists int) (*simulation.World, error) {
	w := simulation.New()
	var err error
	install := func(name, service, id, needs, of string) {
		text := fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: music.v1.%s, version: 1.0.0, properties: {id: %s}}]\n", name, service, id)
		if needs != "" {
			text += fmt.Sprintf("requires: [{name: of, service: music.v1.%s, cardinality: 1..1, filter: {id: %s}}]\n", needs, of)
		}
		if err == nil {
			err = w.Install(text)
		}
	}
	for a := range artists {
		artist := fmt.Sprintf("a%d", a)
		install("A"+artist, "Artist", artist, "", "")
		for b := range 5 {
			album := fmt.Sprintf("%sb%d", artist, b)
			install("B"+album, "Album", album, "Artist", artist)
			for t := range 3 {
				track := fmt.Sprintf("%st%d", album, t)
				install("T"+track, "Track", track, "Album", album)
			}
		}
	}
	return w, err
}

// warm leaves a collected heap with room that has been touched: nobody pays for a page's first touch, which on a virtual machine may cost
// more than all that is done with the page.
func warm() {
	room := make([]byte, 256<<20)
	for i := 0; i < len(room); i += os.Getpagesize() {
		room[i] = 1
	}
	runtime.KeepAlive(room)
	runtime.GC()
}
