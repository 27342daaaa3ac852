// An echo server in which every connection is a task with a stack of its own: code that reads as if it
// blocked, one thread, epoll underneath.
//
//   fiber_server [PORT]         serves until its standard input ends; port 0 takes a free one
//
// A line that comes in goes back, reversed. "deep N" recurses N levels on the connection's own stack
// before it answers: what would overflow a thread's stack by accident overflows a guarded one here, and
// the report names the connection.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <holdfast/fiber.hpp>

namespace {

// Tasks wait here for a file to be ready; the loop wakes them.
class Reactor {
public:
    Reactor() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
    ~Reactor() { close(epoll_); }

    void wait(int file, std::uint32_t events) {
        epoll_event event{};
        event.events = events | EPOLLONESHOT;
        event.data.ptr = hf::this_task::native();
        if (epoll_ctl(epoll_, EPOLL_CTL_MOD, file, &event) != 0 &&
            epoll_ctl(epoll_, EPOLL_CTL_ADD, file, &event) != 0)
            throw std::runtime_error("epoll_ctl");
        hf::this_task::park();
    }
    // Runs every task that can run, then sleeps until one of them can again; until `stop` or all ended.
    void run(hf::Scheduler &scheduler, const bool &stop) {
        while (!scheduler.run() && !stop) {
            epoll_event ready[64];
            const int count = epoll_wait(epoll_, ready, 64, -1);
            for (int i = 0; i < count; ++i)
                hf_task_unpark(static_cast<hf_task *>(ready[i].data.ptr));
        }
    }

private:
    int epoll_;
};

struct File { // closed when its task ends or is unwound
    explicit File(int number) : number(number) {}
    File(const File &) = delete;
    ~File() { close(number); }
    int number;
};

bool would_block() {
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

bool send_all(Reactor &reactor, int file, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = send(file, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent > 0)
            text.remove_prefix(static_cast<std::size_t>(sent));
        else if (would_block())
            reactor.wait(file, EPOLLOUT);
        else
            return false;
    }
    return true;
}

[[gnu::noinline]] unsigned long recurse(unsigned long depth) {
    volatile char frame[256] = {};
    frame[0] = static_cast<char>(depth);
    return depth == 0 ? 0 : 1 + recurse(depth - 1) + (frame[0] - static_cast<char>(depth));
}

std::string answer(std::string line) {
    if (line.rfind("deep ", 0) == 0)
        return "came back from " +
               std::to_string(recurse(std::strtoul(line.c_str() + 5, nullptr, 10)));
    return std::string(line.rbegin(), line.rend());
}

struct Counts {
    unsigned long connections = 0, lines = 0, open = 0, open_most = 0;
};

void serve(Reactor &reactor, int number, Counts &counts) {
    File file(number);
    std::string pending;
    char buffer[4096];
    counts.open_most = std::max(counts.open_most, ++counts.open);
    for (;;) {
        const ssize_t got = recv(file.number, buffer, sizeof buffer, 0);
        if (got < 0 && would_block()) {
            reactor.wait(file.number, EPOLLIN);
            continue;
        }
        if (got <= 0) break;
        pending.append(buffer, static_cast<std::size_t>(got));
        for (std::size_t end; (end = pending.find('\n')) != std::string::npos; ++counts.lines) {
            std::string line = pending.substr(0, end);
            pending.erase(0, end + 1);
            if (!send_all(reactor, file.number, answer(std::move(line)) + "\n")) break;
        }
    }
    --counts.open;
}

int listen_on(unsigned short port) {
    const int file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    socklen_t size = sizeof address;
    const int yes = 1;
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (bind(file, reinterpret_cast<sockaddr *>(&address), size) != 0 || listen(file, 1024) != 0 ||
        getsockname(file, reinterpret_cast<sockaddr *>(&address), &size) != 0) {
        std::perror("fiber_server");
        std::exit(1);
    }
    std::printf("listening on port %d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    return file;
}

} // namespace

int main(int argc, char **argv) {
    hf::check(hf_stack_overflow_install(HF_STACK_ABORT));
    Reactor reactor;
    Counts counts;
    hf::StackPool stacks{{.stack_size = 64 << 10, .name = "connections"}};
    hf::Scheduler scheduler{stacks};
    File listener(listen_on(static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 0)));

    auto accepting = scheduler.spawn(
        [&] {
            for (;;) {
                const int file = accept4(listener.number, nullptr, nullptr, SOCK_NONBLOCK);
                if (file < 0) {
                    reactor.wait(listener.number, EPOLLIN);
                    continue;
                }
                const std::string name = "connection-" + std::to_string(++counts.connections);
                // Let go of the handle: the task frees itself when the connection ends.
                scheduler.spawn([&, file] { serve(reactor, file, counts); }, name.c_str());
            }
        },
        "accept");
    bool stop = false;
    auto watching = scheduler.spawn(
        [&] {
            char buffer[64];
            do
                reactor.wait(STDIN_FILENO, EPOLLIN);
            while (read(STDIN_FILENO, buffer, sizeof buffer) > 0);
            stop = true;
        },
        "watch");
    reactor.run(scheduler, stop);
    const hf::StackPoolInfo info = stacks.info();
    std::printf(
        "%lu connections, at most %lu at once, %lu lines; %llu stacks of %zu KiB, %llu in use\n",
        counts.connections, counts.open_most, counts.lines,
        static_cast<unsigned long long>(info.count), info.stack_size / 1024,
        static_cast<unsigned long long>(info.count_taken));
    return 0; // the scheduler unwinds what is still open: every File is closed
}
