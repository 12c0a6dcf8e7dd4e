// Command Storefront is the shop's page. It must not know how orders and stock are kept.
package main

import (
	"crypto/rand"
	_ "embed"
	"html/template"
	"net/http"
	"strconv"

	"carbonado.dev/examples/shop/ordersv1"
	"carbonado.dev/examples/shop/stockv1"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(start) }

//go:embed page.html
var pageHTML string

var page = template.Must(template.New("page").Parse(pageHTML))

func start(c *component.C) error {
	s := &shop{c: c, orders: ordersv1.NewOrdersClient(c.Ref("orders")), shelf: c.Ref("stock")}
	s.stock = stockv1.NewStockClient(s.shelf)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.show)
	mux.HandleFunc("POST /order", s.order)
	component.ServeHTTP(c, "/", mux, component.HTTPAuth("none"))
	return nil
}

type shop struct {
	c      *component.C
	orders ordersv1.OrdersClient
	shelf  *component.Ref
	stock  stockv1.StockClient
}

// show is the page: what there is, what was ordered, and a form whose id makes a form sent twice one order.
func (s *shop) show(w http.ResponseWriter, r *http.Request) {
	var view struct {
		Items  []*stockv1.Item
		Orders []*ordersv1.Order
		ID     string
	}
	view.ID = rand.Text()
	list, err := s.orders.List(r.Context(), &ordersv1.ListRequest{})
	if err != nil {
		s.fail(w, err)
		return
	}
	view.Orders = list.Orders
	if s.shelf.Bound() {
		items, err := s.stock.List(r.Context(), &stockv1.ListRequest{})
		if err != nil {
			s.fail(w, err)
			return
		}
		view.Items = items.Items
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, view); err != nil {
		s.c.Log().Warn("page", "error", err)
	}
}

// order takes the form and goes back to the page.
func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	quantity, _ := strconv.ParseInt(r.FormValue("quantity"), 10, 32) // 0, which the stock refuses, if it is no number
	o := &ordersv1.Order{Id: r.FormValue("id"), Item: r.FormValue("item"), Quantity: int32(quantity)}
	if _, err := s.orders.Place(r.Context(), &ordersv1.PlaceRequest{Order: o}); err != nil {
		s.fail(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *shop) fail(w http.ResponseWriter, err error) {
	http.Error(w, cause.From(err).Error(), http.StatusConflict)
}
