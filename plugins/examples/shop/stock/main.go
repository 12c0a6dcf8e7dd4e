// Command Stock is the shop's shelf. It must not know orders or pages.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"carbonado.dev/examples/shop/stockv1"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"

	"google.golang.org/grpc/codes"
)

func main() { component.Main(start) }

// Kinds of error of the shelf.
var (
	errUnknown = cause.Define("SHOP-STOCK-001", "There is no such item.", "Take one of those that the stock lists.").Code(codes.NotFound)
	errFew     = cause.Define("SHOP-STOCK-002", "There are too few of an item.", "Order fewer.").Code(codes.FailedPrecondition)
	errAmount  = cause.Define("SHOP-STOCK-003", "A quantity is not a number above zero.", "Order one or more.").Code(codes.InvalidArgument)
)

func start(c *component.C) error {
	var config struct {
		Items map[string]int32 `json:"items"`
	}
	if err := c.Config(&config); err != nil {
		return err
	}
	s := &shelf{file: filepath.Join(c.DataFolder(), "shelf.json"), Left: config.Items, Taken: map[string]int32{}}
	c.Manage(s)
	stockv1.RegisterStockServer(c, s)
	return nil
}

// shelf is what is left and which orders have taken theirs; the file holds both, so that they never differ.
type shelf struct {
	stockv1.UnimplementedStockServer
	file string

	mu    sync.Mutex
	Left  map[string]int32
	Taken map[string]int32 // left after it, by order
}

// Acquire reads the file: now no predecessor writes to it any more.
func (s *shelf) Acquire(context.Context) error {
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(data, s)
}

// List implements the contract.
func (s *shelf) List(context.Context, *stockv1.ListRequest) (*stockv1.ListResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &stockv1.ListResponse{}
	for _, name := range slices.Sorted(maps.Keys(s.Left)) {
		out.Items = append(out.Items, &stockv1.Item{Name: name, Left: s.Left[name]})
	}
	return out, nil
}

// Take implements the contract.
func (s *shelf) Take(_ context.Context, r *stockv1.TakeRequest) (*stockv1.TakeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left, ok := s.Taken[r.Order]; ok {
		return &stockv1.TakeResponse{Left: left}, nil
	}
	left, ok := s.Left[r.Item]
	switch {
	case !ok:
		return nil, errUnknown.New("item %q", r.Item)
	case r.Quantity <= 0:
		return nil, errAmount.New("%d %s", r.Quantity, r.Item)
	case left < r.Quantity:
		return nil, errFew.New("%d %s are left, %d were ordered", left, r.Item, r.Quantity)
	}
	s.Left[r.Item], s.Taken[r.Order] = left-r.Quantity, left-r.Quantity
	if err := s.write(); err != nil {
		s.Left[r.Item] = left
		delete(s.Taken, r.Order)
		return nil, err
	}
	return &stockv1.TakeResponse{Left: left - r.Quantity}, nil
}

// write replaces the file: first beside it, synced, then renamed, then the folder synced.
func (s *shelf) write() error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.Create(s.file + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.file); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(s.file))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
