// Command Orders takes orders. It must not know pages, nor how the stock keeps its shelf.
package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"carbonado.dev/examples/shop/ordersv1"
	"carbonado.dev/examples/shop/stockv1"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() { component.Main(start) }

var errNoID = cause.Define("SHOP-ORDERS-001", "An order has no id.", "Give it one of its own; the same id is the same order.").Code(codes.InvalidArgument)

func start(c *component.C) error {
	b := &book{name: filepath.Join(c.DataFolder(), "orders.jsonl"), stock: stockv1.NewStockClient(c.Ref("stock")), byID: map[string]bool{}}
	c.Manage(b)
	ordersv1.RegisterOrdersServer(c, b)
	return nil
}

// book is the orders in memory and in their file, one JSON object a line.
type book struct {
	ordersv1.UnimplementedOrdersServer
	name  string
	stock stockv1.StockClient

	mu   sync.Mutex
	file *os.File
	size int64 // of the whole lines
	all  []*ordersv1.Order
	byID map[string]bool
}

// Acquire opens the file: now no predecessor writes to it any more. A last line that a crash cut off was never answered and is dropped.
func (b *book) Acquire(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, err := os.OpenFile(b.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b.size, b.all, b.byID = 0, nil, map[string]bool{}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		o := &ordersv1.Order{}
		if err := protojson.Unmarshal(line, o); err != nil {
			return errors.Join(err, f.Close())
		}
		b.size += int64(len(line))
		b.all, b.byID[o.Id] = append(b.all, o), true
	}
	b.file = f
	return f.Truncate(b.size)
}

// Release closes the file.
func (b *book) Release(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.file.Close()
}

// Place implements the contract. The stock takes each id once, so that a repeat after a crash between the two steps is right.
func (b *book) Place(ctx context.Context, r *ordersv1.PlaceRequest) (*ordersv1.PlaceResponse, error) {
	o := r.GetOrder()
	if o.GetId() == "" {
		return nil, errNoID.New("%d %s", o.GetQuantity(), o.GetItem())
	}
	if _, err := b.stock.Take(ctx, &stockv1.TakeRequest{Order: o.Id, Item: o.Item, Quantity: o.Quantity}); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID[o.Id] {
		return &ordersv1.PlaceResponse{}, nil
	}
	line, err := protojson.Marshal(o)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	if _, err := b.file.WriteAt(line, b.size); err != nil {
		return nil, err // what was written of it lies behind the end and is overwritten by the next
	}
	if err := b.file.Sync(); err != nil {
		return nil, err
	}
	b.size += int64(len(line))
	b.all, b.byID[o.Id] = append(b.all, o), true
	return &ordersv1.PlaceResponse{}, nil
}

// List implements the contract.
func (b *book) List(context.Context, *ordersv1.ListRequest) (*ordersv1.ListResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &ordersv1.ListResponse{Orders: b.all}, nil
}
