/* What the kernel itself takes for a colony's bare network: the calls that Colony makes, and no more.

   network_limit COUNT DIRECTORY

   Makes COUNT of them one after the other (namespace, pin in DIRECTORY, veth pair, addresses, routes),
   printing the milliseconds of each and removing it. Addresses are of 198.18/15, for benchmarks. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[8192];
static struct nlmsghdr *message;
static size_t used;
static int waiting;

static void fail(const char *what) { perror(what); exit(1); }

static void *room(size_t size) {
    void *at = (char *)message + message->nlmsg_len;
    memset(at, 0, NLMSG_ALIGN(size));
    message->nlmsg_len += NLMSG_ALIGN(size);
    used += NLMSG_ALIGN(size);
    return at;
}

static void *begin(int type, int flags, size_t size) {
    message = (struct nlmsghdr *)(buffer + used);
    memset(message, 0, sizeof *message);
    message->nlmsg_len = NLMSG_HDRLEN;
    used += NLMSG_HDRLEN;
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    waiting++;
    return room(size);
}

static struct rtattr *attribute(int type, const void *data, size_t size) {
    struct rtattr *made = room(RTA_LENGTH(size));
    made->rta_type = type;
    made->rta_len = RTA_LENGTH(size);
    if (size && data) memcpy(RTA_DATA(made), data, size);
    return made;
}

static void close_nest(struct rtattr *nest) {
    nest->rta_len = (char *)message + message->nlmsg_len - (char *)nest;
}

static void go(int fd, const char *what) {
    char answer[16384];
    if (send(fd, buffer, used, 0) < 0) fail(what);
    while (waiting) {
        int length = recv(fd, answer, sizeof answer, 0);
        if (length < 0) fail(what);
        for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, length); h = NLMSG_NEXT(h, length)) {
            struct nlmsgerr *error = NLMSG_DATA(h);
            if (h->nlmsg_type == NLMSG_ERROR && error->error) {
                errno = -error->error;
                fail(what);
            }
            waiting--;
        }
    }
    used = 0;
}

static void up(int index) {
    struct ifinfomsg *link = begin(RTM_NEWLINK, 0, sizeof *link);
    link->ifi_index = index;
    link->ifi_flags = link->ifi_change = IFF_UP;
}

static void address(int index, in_addr_t ip) {
    struct ifaddrmsg *made = begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *made);
    made->ifa_family = AF_INET;
    made->ifa_prefixlen = 32;
    made->ifa_index = index;
    attribute(IFA_LOCAL, &ip, 4);
    attribute(IFA_ADDRESS, &ip, 4);
}

static void route(int index, in_addr_t to, int bits, in_addr_t by) {
    struct rtmsg *made = begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *made);
    made->rtm_family = AF_INET;
    made->rtm_dst_len = bits;
    made->rtm_table = RT_TABLE_MAIN;
    made->rtm_protocol = RTPROT_STATIC;
    made->rtm_scope = by ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    made->rtm_type = RTN_UNICAST;
    if (bits) attribute(RTA_DST, &to, 4);
    attribute(RTA_OIF, &index, 4);
    if (by) attribute(RTA_GATEWAY, &by, 4);
}

static void one_queue(void) {
    int one = 1;
    attribute(IFLA_NUM_TX_QUEUES, &one, 4);
    attribute(IFLA_NUM_RX_QUEUES, &one, 4);
}

static void veth(const char *name, int space) {
    struct ifinfomsg *link = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof *link);
    attribute(IFLA_IFNAME, name, strlen(name) + 1);
    one_queue();
    struct rtattr *info = attribute(IFLA_LINKINFO, 0, 0);
    attribute(IFLA_INFO_KIND, "veth", 5);
    struct rtattr *data = attribute(IFLA_INFO_DATA, 0, 0), *peer = attribute(VETH_INFO_PEER, 0, 0);
    room(sizeof(struct ifinfomsg));
    attribute(IFLA_IFNAME, "eth0", 5);
    attribute(IFLA_NET_NS_FD, &space, 4);
    one_queue();
    close_nest(peer);
    close_nest(data);
    close_nest(info);
}

static int rtnetlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) fail("socket");
    return fd;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: network_limit COUNT DIRECTORY\n"), 2;
    /* Its pins are nobody else's mounts: Colony looks at the host's anew whenever those change. */
    if (unshare(CLONE_NEWNS) || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0)) fail("mounts");
    int home = open("/proc/self/ns/net", O_RDONLY), host = rtnetlink();
    for (int i = 0; i < atoi(argv[1]); i++) {
        char name[16], pin[512];
        snprintf(name, sizeof name, "l%d-%d", getpid(), i);
        snprintf(pin, sizeof pin, "%s/pin%d", argv[2], i);
        in_addr_t ip = htonl(0xC6130002 + 2 * i), gateway = htonl(0xC6130001);
        double begun = now();
        close(open(pin, O_CREAT | O_RDONLY, 0444));
        if (unshare(CLONE_NEWNET)) fail("unshare");
        int space = open("/proc/self/ns/net", O_RDONLY), inner = rtnetlink();
        if (setns(home, CLONE_NEWNET)) fail("setns");
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", space);
        if (mount(path, pin, "none", MS_BIND, 0)) fail("mount");
        veth(name, space);
        go(host, "veth");
        int index = if_nametoindex(name);
        up(index), address(index, gateway), route(index, ip, 32, 0);
        go(host, "host side");
        up(1), up(2), address(2, ip), route(2, gateway, 32, 0), route(2, 0, 0, gateway);
        go(inner, "inside");
        printf("%.4f\n", now() - begun);
        struct ifinfomsg *link = begin(RTM_DELLINK, 0, sizeof *link);
        link->ifi_index = index;
        go(host, "delete");
        umount2(pin, MNT_DETACH);
        unlink(pin);
        close(space), close(inner);
    }
    return 0;
}
