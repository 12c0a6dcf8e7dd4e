package store_test

import arrowmemory "github.com/apache/arrow-go/v18/arrow/memory"

var memory = arrowmemory.DefaultAllocator
