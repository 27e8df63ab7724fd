/* The two ends of a proxy's benchmark, in C so that they take little of what is measured.

   proxy_load upstream                            answers 5 bytes to every request; prints its port;
                                                  ends with its stdin
   proxy_load load PORT CONNECTIONS SECONDS HOST  keeps one request under way on each connection;
                                                  prints {"rps", "requests", "p50"} */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
#define TIMES (1 << 24)

static const char RESPONSE[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void at_once(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void watch(int poll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static int upstream(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int server = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    if (bind(server, (void *)&at, size) || listen(server, 1024)) fail("listen");
    getsockname(server, (void *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    watch(poll, server);
    watch(poll, 0);
    static char data[65536];
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return 0;
            if (fd == server) {
                int client = accept(server, 0, 0);
                at_once(client);
                watch(poll, client);
                continue;
            }
            ssize_t length = read(fd, data, sizeof data);
            if (length <= 0) {
                close(fd);
                continue;
            }
            for (char *end, *from = data; (end = memmem(from, data + length - from, "\r\n\r\n", 4));
                 from = end + 4)
                if (write(fd, RESPONSE, sizeof RESPONSE - 1) < 0) break;
        }
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int load(int port, int connections, double seconds, const char *host) {
    static double sent[MOST];
    static char request[1024], data[65536];
    int size = snprintf(request, sizeof request,
                        "GET / HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n"
                        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n",
                        host);
    float *times = malloc(TIMES * sizeof *times);
    int poll = epoll_create1(0), socks[MOST];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons(port);
    for (int i = 0; i < connections; i++) {
        int fd = socks[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&at, sizeof at)) fail("connect");
        at_once(fd);
        if (write(fd, request, size) != size) fail("write");
        ssize_t length = read(fd, data, sizeof data);
        if (length < 12 || memcmp(data, "HTTP/1.1 200", 12)) {
            fprintf(stderr, "no 200 from port %d\n", port);
            return 1;
        }
        watch(poll, fd);
    }
    double begin = now(), last = begin;
    long count = 0;
    for (int i = 0; i < connections; i++) {
        sent[socks[i]] = now();
        if (write(socks[i], request, size) != size) fail("write");
    }
    while (last - begin < seconds && count < TIMES) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < ready && count < TIMES; i++) {
            int fd = events[i].data.fd;
            ssize_t length = read(fd, data, sizeof data);
            if (length <= 0) {
                fprintf(stderr, "port %d closed a connection\n", port);
                return 1;
            }
            if (length < 5 || memcmp(data + length - 5, "hello", 5)) continue;
            last = now();
            times[count++] = (last - sent[fd]) * 1e6;
            sent[fd] = last;
            if (write(fd, request, size) != size) fail("write");
        }
    }
    qsort(times, count, sizeof *times, by_size);
    printf("{\"rps\": %f, \"requests\": %ld, \"p50\": %f}\n", count / (last - begin), count,
           times[count / 2]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "upstream")) return upstream();
    if (argc == 6 && !strcmp(argv[1], "load") && atoi(argv[3]) < MOST - 16)
        return load(atoi(argv[2]), atoi(argv[3]), atof(argv[4]), argv[5]);
    return fprintf(stderr, "usage: proxy_load upstream | load PORT CONNECTIONS SECONDS HOST\n"), 2;
}
