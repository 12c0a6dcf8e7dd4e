package dev.carbonado.sdk;

import io.grpc.netty.NettyServerBuilder;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.Epoll;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.netty.channel.socket.nio.NioServerDomainSocketChannel;
import io.netty.channel.unix.DomainSocketAddress;
import io.netty.channel.unix.PeerCredentials;
import java.io.IOException;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Predicate;

/** The process at the other end of a Unix socket, by the system's word. pid is 0 and uid UNKNOWN where they can't be read (without epoll). */
record Peer(long pid, long uid) {
  static final long UNKNOWN = -1;
  static final boolean EPOLL = Epoll.isAvailable();

  static EventLoopGroup loops(int threads) {
    return new MultiThreadIoEventLoopGroup(threads, EPOLL ? EpollIoHandler.newFactory() : NioIoHandler.newFactory());
  }

  static SocketAddress address(String path) {
    return EPOLL ? new DomainSocketAddress(path) : UnixDomainSocketAddress.of(path);
  }

  static Class<? extends Channel> clientChannel() {
    return EPOLL ? EpollDomainSocketChannel.class : NioDomainSocketChannel.class;
  }

  static Peer of(Channel c) throws IOException {
    if (c instanceof EpollDomainSocketChannel e) {
      PeerCredentials p = e.peerCredentials();
      return new Peer(p.pid(), p.uid());
    }
    // NIO gives names only. The control socket's mode lets in nobody but this user and the kernel; on the service socket the token decides.
    return new Peer(0, UNKNOWN);
  }

  /** A server on a Unix socket that closes connections of others before gRPC sees them. */
  static NettyServerBuilder server(String path, EventLoopGroup loops, Predicate<Peer> allow) {
    return NettyServerBuilder.forAddress(address(path))
        .bossEventLoopGroup(loops)
        .workerEventLoopGroup(loops)
        .channelFactory(() -> {
          ServerChannel s = EPOLL ? new EpollServerDomainSocketChannel() : new NioServerDomainSocketChannel();
          s.pipeline().addLast(new Gate(allow));
          return s;
        });
  }

  /** Stands before gRPC's acceptor: accepted connections pass here as messages. */
  @ChannelHandler.Sharable
  private static final class Gate extends ChannelInboundHandlerAdapter {
    private final Predicate<Peer> allow;

    Gate(Predicate<Peer> allow) {
      this.allow = allow;
    }

    @Override
    public void channelRead(ChannelHandlerContext ctx, Object msg) throws Exception {
      if (msg instanceof Channel child) {
        boolean in;
        try {
          in = allow.test(of(child));
        } catch (IOException e) {
          in = false;
        }
        if (!in) {
          child.unsafe().closeForcibly();
          return;
        }
      }
      super.channelRead(ctx, msg);
    }
  }

}
