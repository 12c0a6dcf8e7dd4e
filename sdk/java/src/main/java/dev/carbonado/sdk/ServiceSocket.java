package dev.carbonado.sdk;

import io.grpc.ForwardingServerCall;
import io.grpc.ForwardingServerCallListener;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.NettyServerBuilder;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * The socket on which other components call. A connection must come from a process that has an admission, a call must carry the token of one
 * for its service. (The token's own pid is not compared: gRPC for Java hides the connection from its calls.)
 */
final class ServiceSocket implements ServerInterceptor {
  static final Metadata.Key<byte[]> TOKEN = Metadata.Key.of("carbonado-link-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private record Admission(String consumer, String service, Peer peer, Set<ServerCall<?, ?>> calls) {}

  private final String path;
  private final Map<String, Admission> tokens = new HashMap<>();
  private Server server;

  private final boolean otherUsers;

  ServiceSocket(String path, boolean otherUsers) {
    this.path = path;
    this.otherUsers = otherUsers;
  }

  String address() {
    return "unix://" + path;
  }

  synchronized void start(Iterable<ServerServiceDefinition> services) throws IOException {
    NettyServerBuilder b = Peer.server(path, Carbonado.LOOPS, this::known)
        .maxInboundMessageSize(Carbonado.MAX_MESSAGE).flowControlWindow(Carbonado.WINDOW).executor(Carbonado.WORK)
        .permitKeepAliveTime(5, TimeUnit.SECONDS).permitKeepAliveWithoutCalls(true).intercept(this);
    services.forEach(b::addService);
    server = b.build().start();
    java.nio.file.Files.setPosixFilePermissions(java.nio.file.Path.of(path), java.nio.file.attribute.PosixFilePermissions.fromString(otherUsers ? "rw-rw-rw-" : "rw-------"));
  }

  private synchronized boolean known(Peer p) {
    return tokens.values().stream().anyMatch(a -> (p.uid() == Peer.UNKNOWN || a.peer.uid() == p.uid()) && (p.pid() == 0 || a.peer.pid() == 0 || a.peer.pid() == p.pid()));
  }

  private static String key(byte[] token) {
    return new String(token, StandardCharsets.ISO_8859_1);
  }

  synchronized void admit(Wire.Fields f) {
    tokens.putIfAbsent(key(f.bytes(1)), new Admission(f.string(2), f.string(3), new Peer(f.number(4), f.number(5)), ConcurrentHashMap.newKeySet()));
  }

  void revoke(byte[] token) {
    Admission a;
    synchronized (this) {
      a = tokens.remove(key(token));
    }
    if (a != null) {
      for (ServerCall<?, ?> c : a.calls) {
        close(c, Status.PERMISSION_DENIED.withDescription("the link was revoked"));
      }
    }
  }

  private static void close(ServerCall<?, ?> c, Status s) {
    synchronized (c) {
      try {
        c.close(s, new Metadata());
      } catch (IllegalStateException e) {
        // It has ended already.
      }
    }
  }

  @Override
  public <Q, R> ServerCall.Listener<Q> interceptCall(ServerCall<Q, R> call, Metadata headers, ServerCallHandler<Q, R> next) {
    byte[] token = headers.get(TOKEN);
    Admission a;
    synchronized (this) {
      a = token == null ? null : tokens.get(key(token));
    }
    if (a == null || !a.service.equals(call.getMethodDescriptor().getServiceName())) {
      call.close(Status.PERMISSION_DENIED.withDescription("CBN-SDK-007: call of " + call.getMethodDescriptor().getFullMethodName() + " without a link"), new Metadata());
      return new ServerCall.Listener<>() {};
    }
    a.calls.add(call);
    ServerCall<Q, R> kept = new ForwardingServerCall.SimpleForwardingServerCall<>(call) {
      private boolean closed;

      @Override
      public void sendMessage(R message) {
        synchronized (call) {
          if (!closed && !call.isCancelled()) {
            super.sendMessage(message);
          }
        }
      }

      @Override
      public void close(Status s, Metadata trailers) {
        synchronized (call) {
          a.calls.remove(call);
          if (!closed) {
            closed = true;
            try {
              super.close(s, trailers);
            } catch (IllegalStateException e) {
              // The link was revoked.
            }
          }
        }
      }
    };
    return new ForwardingServerCallListener.SimpleForwardingServerCallListener<>(next.startCall(kept, headers)) {
      @Override
      public void onHalfClose() { // here a handler of unary calls runs
        try {
          super.onHalfClose();
        } catch (RuntimeException e) {
          StatusRuntimeException s = Problem.statusOf(e);
          kept.close(s.getStatus(), s.getTrailers() == null ? new Metadata() : s.getTrailers());
        }
      }
    };
  }

  synchronized void stop() {
    if (server != null) {
      server.shutdownNow();
    }
  }
}
