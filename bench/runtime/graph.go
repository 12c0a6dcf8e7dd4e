package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/simulation"
)

// measureGraph is Felix Dependency Manager's benchmark: artists, five albums each, three tracks each, every one needing the one above it
// by a filter on its id; from nothing to all ACTIVE and to nothing again, with processes in memory.
func measureGraph(o options) error {
	var few, many, started []time.Duration
	for range min(o.rounds, 3) {
		// Ten small ones in a row take about as long as the large one, and both begin with a collected heap: what others do on the machine
		// meets both alike, and the small ones don't live on room that the large one has left.
		runtime.GC()
		var ten time.Duration
		for range 10 {
			took, _, err := music(30)
			if err != nil {
				return err
			}
			ten += took
		}
		few = append(few, ten/10)
		runtime.GC()
		took, active, err := music(300)
		if err != nil {
			return err
		}
		many, started = append(many, took), append(started, active)
	}
	print("graph-growth", median(many).Seconds()/median(few).Seconds(), 12, "630 to 6,300 nodes, to all active and down again; %s and %s, of it %s to all active",
		median(few).Round(time.Millisecond), median(many).Round(time.Millisecond), median(started).Round(time.Millisecond))
	return nil
}

func music(artists int) (whole, active time.Duration, err error) {
	w := simulation.New()
	n := 0
	install := func(name, service, id, needs, of string) {
		text := fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: music.v1.%s, version: 1.0.0, properties: {id: %s}}]\n", name, service, id)
		if needs != "" {
			text += fmt.Sprintf("requires: [{name: of, service: music.v1.%s, cardinality: 1..1, filter: {id: %s}}]\n", needs, of)
		}
		if err == nil {
			err = w.Install(text)
		}
		n++
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
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	w.Apply()
	if err := w.Reconciler.WaitSettled(ctx); err != nil {
		return 0, 0, err
	}
	active = time.Since(began)
	for _, v := range w.Reconciler.Views() {
		if v.State != component.Active {
			return 0, 0, fmt.Errorf("%s is %s: %v", v.Name, v.State, v.Cause)
		}
	}
	w.Reconciler.Shutdown(ctx)
	return time.Since(began), active, w.Check()
}
