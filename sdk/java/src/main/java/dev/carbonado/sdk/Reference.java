package dev.carbonado.sdk;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A reference under `requires`: its provider may be restarted or replaced beneath it. Safe for concurrent use. */
public final class Reference {
  private final String name;
  private final Map<Long, Bound> bound = new LinkedHashMap<>();

  private static final class Bound {
    String service;
    int ranking;
    ManagedChannel transport; // null while suspended
    Channel channel;
  }

  Reference(String name) {
    this.name = name;
  }

  /** Whether there is a provider that can be called now. */
  public synchronized boolean isBound() {
    return best(null) != null;
  }

  private Bound best(String service) {
    Bound best = null;
    for (Bound b : bound.values()) {
      if (b.channel != null && (service == null || service.equals(b.service)) && (best == null || b.ranking > best.ranking)) {
        best = b;
      }
    }
    return best;
  }

  /** The channel of the best provider of a service, waiting until `nanos` have passed. */
  private synchronized Channel await(String service, long until) {
    for (;;) {
      Bound b = best(service);
      if (b != null) {
        return b.channel;
      }
      long left = until - System.nanoTime();
      if (left <= 0) {
        throw Status.UNAVAILABLE.withDescription("reference " + name + " has no provider of " + service).asRuntimeException();
      }
      try {
        TimeUnit.NANOSECONDS.timedWait(this, left);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw Status.CANCELLED.withCause(e).asRuntimeException();
      }
    }
  }

  /**
   * Makes a unary call. While there is no provider it waits, up to the deadline; an idempotent call is repeated on UNAVAILABLE until then.
   */
  public byte[] call(String fullMethod, byte[] request, Duration deadline, boolean idempotent) {
    long until = System.nanoTime() + deadline.toNanos();
    MethodDescriptor<byte[], byte[]> m = Bytes.unary(fullMethod);
    for (;;) {
      Channel c = await(m.getServiceName(), until);
      try {
        return ClientCalls.blockingUnaryCall(c, m, CallOptions.DEFAULT.withDeadlineAfter(Math.max(1, until - System.nanoTime()), TimeUnit.NANOSECONDS), request);
      } catch (StatusRuntimeException e) {
        if (e.getStatus().getCode() != Status.Code.UNAVAILABLE || !idempotent || System.nanoTime() > until) {
          throw e;
        }
        pause();
      }
    }
  }

  private synchronized void pause() {
    try {
      wait(10); // a new provider ends it early
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** A channel for generated stubs; it waits for a provider up to the call's deadline (30 s without one) and repeats nothing. */
  public Channel channel() {
    return new Channel() {
      @Override
      public <Q, R> ClientCall<Q, R> newCall(MethodDescriptor<Q, R> m, CallOptions o) {
        long left = o.getDeadline() == null ? TimeUnit.SECONDS.toNanos(30) : o.getDeadline().timeRemaining(TimeUnit.NANOSECONDS);
        return await(m.getServiceName(), System.nanoTime() + left).newCall(m, o);
      }

      @Override
      public String authority() {
        return "localhost";
      }
    };
  }

  void bind(Wire.Fields f) {
    Bound b = new Bound();
    b.service = f.string(4);
    b.ranking = (int) f.number(6);
    b.transport = NettyChannelBuilder.forAddress(Peer.address(f.string(8).substring("unix://".length())))
        .eventLoopGroup(Carbonado.LOOPS).channelType(Peer.clientChannel()).usePlaintext().overrideAuthority("localhost")
        .withOption(io.netty.channel.ChannelOption.SO_KEEPALIVE, null)
        .maxInboundMessageSize(Carbonado.MAX_MESSAGE).flowControlWindow(Carbonado.WINDOW).build();
    Metadata token = new Metadata();
    token.put(ServiceSocket.TOKEN, f.bytes(9));
    b.channel = ClientInterceptors.intercept(b.transport, MetadataUtils.newAttachHeadersInterceptor(token));
    replace(f.number(2), b);
  }

  void suspend(long id) {
    Bound old;
    synchronized (this) {
      old = bound.get(id);
      if (old == null) {
        return;
      }
    }
    Bound b = new Bound();
    b.service = old.service;
    b.ranking = old.ranking;
    replace(id, b);
  }

  void unbind(long id) {
    replace(id, null);
  }

  private void replace(long id, Bound b) {
    Bound old;
    synchronized (this) {
      old = b == null ? bound.remove(id) : bound.put(id, b);
      notifyAll();
    }
    if (old != null && old.transport != null) {
      old.transport.shutdown(); // calls under way may end
    }
  }

  synchronized void close() {
    for (Bound b : bound.values()) {
      if (b.transport != null) {
        b.transport.shutdownNow();
      }
    }
    bound.clear();
  }
}
