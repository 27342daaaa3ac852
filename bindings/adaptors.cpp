/// adaptors.cpp - the adaptors that talk to Python or to the system.
///
/// Talks to    adaptors.hpp.
#include "adaptors.hpp"

#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// The lines that asked, outermost first, without those of this package.
std::string site_of(unsigned frames, const std::string &ours_folder) {
    if (PyGILState_Check() == 0) return "";
    std::string site;
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    while (frame != nullptr && frames > 0) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        const char *file = PyUnicode_AsUTF8(code->co_filename);
        const char *function = PyUnicode_AsUTF8(code->co_name);
        if (file == nullptr || function == nullptr) PyErr_Clear();
        const bool ours =
            file != nullptr && std::strncmp(file, ours_folder.c_str(), ours_folder.size()) == 0;
        if (!ours) {
            const std::string line = std::string(file != nullptr ? file : "?") + ":" +
                                     std::to_string(PyFrame_GetLineNumber(frame)) + " in " +
                                     (function != nullptr ? function : "?");
            site = site.empty() ? line : line + "\n" + site;
            frames--;
        }
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return site;
}

} // namespace

void *TrackAdaptor::do_allocate(std::size_t size, std::size_t align) {
    std::string site = site_of(frames_, ours_);
    void *block = below_->allocate(size, align);
    try {
        const std::lock_guard hold(mutex_);
        blocks_.insert_or_assign(block, Entry{size, std::move(site)});
    } catch (...) {
        below_->deallocate(block, size, align);
        throw;
    }
    return block;
}

LogAdaptor::LogAdaptor(ResourceRef below, const std::string &path)
    : Adaptor(std::move(below)),
      file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) {
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
        throw nb::python_error();
    }
    if (lseek(file_, 0, SEEK_END) == 0) {
        static constexpr char head[] = "time_ns,thread,operation,address,size,align\n";
        (void)!write(file_, head, sizeof head - 1);
    }
}

LogAdaptor::~LogAdaptor() {
    close(file_);
}

void LogAdaptor::line(const char *operation, const void *block, std::size_t size,
                      std::size_t align) const {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    char text[160];
    const int length = std::snprintf(
        text, sizeof text, "%lld,%ld,%s,0x%llx,%zu,%zu\n",
        static_cast<long long>(now.tv_sec) * 1'000'000'000LL + now.tv_nsec, syscall(SYS_gettid),
        operation, static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(block)), size,
        align);
    (void)!write(file_, text, static_cast<std::size_t>(length)); /* one call: lines stay whole */
}

void *LogAdaptor::do_allocate(std::size_t size, std::size_t align) {
    try {
        void *block = below_->allocate(size, align);
        line("alloc", block, size, align);
        return block;
    } catch (...) {
        line("fail", nullptr, size, align);
        throw;
    }
}

void LogAdaptor::do_deallocate(void *block, std::size_t size, std::size_t align) {
    line("free", block, size, align);
    below_->deallocate(block, size, align);
}

FailureAdaptor::~FailureAdaptor() {
    const PyGILState_STATE gil = PyGILState_Ensure();
    callback_.reset();
    PyGILState_Release(gil);
}

void *FailureAdaptor::do_allocate(std::size_t size, std::size_t align) {
    for (;;) {
        try {
            return below_->allocate(size, align);
        } catch (const std::bad_alloc &) {
            const nb::gil_scoped_acquire held;
            if (!nb::cast<bool>(nb::bool_(callback_(size)))) throw;
        }
    }
}

void *PrefaultAdaptor::do_allocate(std::size_t size, std::size_t align) {
    constexpr std::uintptr_t page = 4096;
    constexpr int populate_write = 23; /* MADV_POPULATE_WRITE, Linux 5.14 */
    void *block = below_->allocate(size, align);
    const auto first = reinterpret_cast<std::uintptr_t>(block);
    const std::uintptr_t from = first & ~(page - 1), to = (first + size + page - 1) & ~(page - 1);
    if (madvise(reinterpret_cast<void *>(from), to - from, populate_write) != 0)
        for (std::uintptr_t at = first; at < first + size; at = (at & ~(page - 1)) + page)
            *reinterpret_cast<volatile char *>(at) = 0;
    return block;
}
