/// fiber.hpp - fibers and tasks as C++ functions: values, exceptions and destructors as usual.
///
///   hf::Fiber<int> squares{[](hf::Yield<int> &yield) { for (int i = 0;; ++i) yield(i * i); }};
///   while (squares.next() < 100) ...          // std::optional: empty when the function returned
///
/// Caveats
///  - An exception that leaves the function comes out of the resume that ran it.
///  - Destroying a suspended fiber unwinds its stack: its yield throws hf::FiberUnwind, which is no
///    std::exception. A handler `catch (...)` around a yield must rethrow it.
///  - A fiber is destroyed by others, not from inside: that ends the process.
/// Talks to    fiber.h, stack.hpp.
/// Threads     as fiber.h: one thread at a time; exceptions being handled stay with their fiber.
/// Fails with  OutOfMemory, InvalidArgument (a finished or running fiber); what the function throws.
/// Source      __cxa_get_globals, Itanium C++ ABI 2.2.2: what a thread is handling is per thread.
#ifndef HOLDFAST_FIBER_HPP
#define HOLDFAST_FIBER_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cxxabi.h>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/fiber.h>
#include <holdfast/stack.hpp>

namespace hf {

/// Thrown by yield and park in a fiber or task that is to end. Let it pass.
struct FiberUnwind {};

template <class T = void> class Fiber;

namespace detail {

/// The exceptions a thread is handling right now; a fiber takes its own along.
struct Handling {
    void *caught = nullptr;
    unsigned uncaught = 0;
};

/// Puts `next` in place and returns what was there. Not inlined: the address is the thread's, and the
/// compiler believes that a function never changes its thread.
[[gnu::noinline]] inline Handling exchange_handling(Handling next) noexcept {
    auto *globals = reinterpret_cast<Handling *>(abi::__cxa_get_globals());
    return std::exchange(*globals, next);
}

/// Leaves the stack: what is being handled here is put aside, and back afterwards.
template <class Switch> Status set_aside(Switch switch_away) {
    const Handling mine = exchange_handling({});
    const Status status = switch_away();
    exchange_handling(mine);
    return status;
}

/// Back on a stack that was left: on as if nothing had been, or out.
inline void go_on(Status status, const char *refusal) {
    if (status == HF_E_CANCELLED) throw FiberUnwind{};
    check(status, refusal);
}

/// Shared by a fiber and its owner; lies on the fiber's own stack.
struct Frame {
    hf_fiber *self = nullptr;
    void *value = nullptr;  // of the last yield, on the fiber's stack
    bool unwinding = false; // its owner cancels it: nobody waits for what it throws
};

/// What every Yield has: the frame of its fiber, and how to leave it.
class YieldBase {
public:
    YieldBase(const YieldBase &) = delete;
    YieldBase &operator=(const YieldBase &) = delete;

protected:
    void suspend() {
        go_on(set_aside([this] { return hf_fiber_yield(frame_->self, nullptr, nullptr); }),
              "yield belongs to the fiber it was given to, while it runs");
    }
    Frame *frame_;

private:
    template <class> friend class hf::Fiber;
    explicit YieldBase(Frame *frame) noexcept : frame_(frame) {}
};

} // namespace detail

/// Given to the function of a fiber: hands a value to whoever resumed it.
template <class T = void> class Yield : private detail::YieldBase {
public:
    /// Returns at the next resume. The value may be moved from meanwhile.
    void operator()(T value) {
        frame_->value = std::addressof(value);
        suspend();
    }
    using YieldBase::YieldBase;
};

template <> class Yield<void> : private detail::YieldBase {
public:
    void operator()() { suspend(); }
    using YieldBase::YieldBase;
};

struct FiberOptions {
    hf_stack_pool *pool = nullptr; ///< null: the process-wide pool of 64 KiB stacks
    const char *name = nullptr;    ///< for reports; copied
    bool float_control = false;    ///< rounding mode and the like are the fiber's own
};

/// A function that stops in the middle and yields values of T, or nothing. Move-only.
template <class T> class Fiber {
public:
    /// Takes a stack and moves `function` onto it; it starts at the first resume.
    template <class Function>
    requires(!std::same_as<std::remove_cvref_t<Function>, Fiber> &&
             std::invocable<std::decay_t<Function> &,
                            Yield<T> &>) explicit Fiber(Function &&function,
                                                        const FiberOptions &options = {}) {
        using Body = std::decay_t<Function>;
        std::pair<std::remove_reference_t<Function> *, std::exception_ptr> hand_over{
            std::addressof(function), nullptr};
        check(hf_fiber_create(options.pool, &run<Body, Function, decltype(hand_over)>, &hand_over,
                              options.name, options.float_control ? HF_FIBER_FLOAT_CONTROL : 0u,
                              &fiber_));
        void *frame = nullptr;
        (void)detail::set_aside([&] { return hf_fiber_resume(fiber_, nullptr, &frame); });
        frame_ = static_cast<detail::Frame *>(frame);
        if (frame_ == nullptr) { // moving the function threw
            (void)hf_fiber_destroy(std::exchange(fiber_, nullptr));
            std::rethrow_exception(hand_over.second);
        }
    }
    template <class Function>
    requires(std::invocable<std::decay_t<Function> &, Yield<T> &>)
        Fiber(const StackPool &pool, Function &&function, const char *name = nullptr)
        : Fiber(std::forward<Function>(function),
                FiberOptions{.pool = pool.native(), .name = name}) {}

    Fiber() noexcept = default;
    Fiber(Fiber &&other) noexcept
        : fiber_(std::exchange(other.fiber_, nullptr)), frame_(other.frame_) {}
    Fiber &operator=(Fiber &&other) noexcept {
        if (this != &other) {
            destroy();
            fiber_ = std::exchange(other.fiber_, nullptr);
            frame_ = other.frame_;
        }
        return *this;
    }
    ~Fiber() { destroy(); }

    /// Runs it until it yields (true) or returns (false). Throws what the function throws.
    bool resume() {
        if (fiber_ == nullptr) raise(HF_E_CLOSED, "the fiber is empty");
        void *error = nullptr;
        const Status status =
            detail::set_aside([&] { return hf_fiber_resume(fiber_, nullptr, &error); });
        check(status, status == HF_E_CLOSED ? "the fiber has finished" : "the fiber is running");
        if (!finished()) return true;
        if (error != nullptr) { // the frame is gone; the exception was put aside
            std::unique_ptr<std::exception_ptr> owned(static_cast<std::exception_ptr *>(error));
            std::rethrow_exception(*owned);
        }
        return false;
    }
    [[nodiscard]] explicit operator bool() const noexcept { return !finished(); }
    /// Also of an empty one: there is nothing to resume.
    [[nodiscard]] bool finished() const noexcept {
        return fiber_ == nullptr || hf_fiber_state_get(fiber_) == HF_FIBER_FINISHED;
    }
    /// Unwinds a suspended fiber now; what it throws meanwhile is dropped. Throws Busy from inside it.
    void cancel() {
        if (fiber_ == nullptr) return;
        mark_unwinding();
        check(detail::set_aside([this] { return hf_fiber_cancel(fiber_); }),
              "the fiber is running");
    }
    /// What it yielded last; valid until the next resume.
    [[nodiscard]] std::add_lvalue_reference_t<T> value() const requires(!std::is_void_v<T>) {
        return *static_cast<T *>(frame_->value);
    }
    /// The next value, moved out of the fiber; empty when it returned.
    [[nodiscard]] auto next() requires(!std::is_void_v<T>) {
        return resume() ? std::optional<T>(std::move(value())) : std::optional<T>();
    }
    [[nodiscard]] hf_fiber *native() const noexcept { return fiber_; }

private:
    template <class Body, class Function, class HandOver>
    static void *run(hf_fiber *self, void *argument) noexcept {
        detail::Frame frame{.self = self};
        std::exception_ptr error;
        {
            auto *hand_over = static_cast<HandOver *>(argument);
            try {
                Body body(std::forward<Function>(*hand_over->first));
                hand_over = nullptr; // its place is gone after the first yield
                Yield<T> yield(&frame);
                if (hf_fiber_yield(self, &frame, nullptr) == HF_OK) body(yield);
            } catch (const FiberUnwind &) {
            } catch (...) {
                if (hand_over != nullptr)
                    hand_over->second = std::current_exception();
                else
                    error = std::current_exception();
            }
        }
        if (!error || frame.unwinding) return nullptr;
        return new std::exception_ptr(std::move(error));
    }
    void mark_unwinding() noexcept {
        if (hf_fiber_state_get(fiber_) == HF_FIBER_SUSPENDED) frame_->unwinding = true;
    }
    void destroy() noexcept {
        if (fiber_ == nullptr) return;
        mark_unwinding();
        if (detail::set_aside([this] { return hf_fiber_destroy(fiber_); }) != HF_OK)
            std::terminate();
        fiber_ = nullptr;
    }

    hf_fiber *fiber_ = nullptr;
    detail::Frame *frame_ = nullptr;
};

template <class T = void> class Task;

/// From inside a task.
namespace this_task {

inline void yield() {
    detail::go_on(detail::set_aside(hf_task_yield), "this is no task");
}

/// Waits for unpark.
inline void park() {
    detail::go_on(detail::set_aside(hf_task_park), "this is no task");
}

[[nodiscard]] inline hf_task *native() noexcept {
    return hf_task_current();
}

} // namespace this_task

namespace detail {

template <class T> struct Outcome {
    std::optional<T> value;
    template <class Body> void run(Body &body) { value.emplace(body()); }
    T take() { return std::move(*value); }
};
template <> struct Outcome<void> {
    template <class Body> void run(Body &body) { body(); }
    void take() {}
};

/// Of every task of a scheduler, whatever it returns: on the scheduler's list until it is deleted.
struct TaskStateBase {
    std::exception_ptr error;
    TaskStateBase *next = nullptr, **place = nullptr;
    bool finished = false;
    bool released = false; // its handle is gone
    bool orphan = false;   // its scheduler is gone
    virtual ~TaskStateBase() { unlink(); }
    void link(TaskStateBase **head) noexcept {
        next = *head;
        place = head;
        if (next != nullptr) next->place = &next;
        *head = this;
    }
    void unlink() noexcept {
        if (place != nullptr) *place = next;
        if (next != nullptr) next->place = place;
        next = nullptr;
        place = nullptr;
    }
};

/// Shared by a task and its handle; the later of the two deletes it.
template <class T> struct TaskState : TaskStateBase { Outcome<T> outcome; };

template <class T, class Body> struct TaskBody final : TaskState<T> {
    explicit TaskBody(Body &&function) : body(std::move(function)) {}
    explicit TaskBody(const Body &function) : body(function) {}
    Body body;

    static void *run(void *argument) noexcept {
        auto *self = static_cast<TaskBody *>(argument);
        exchange_handling({});
        try {
            self->outcome.run(self->body);
        } catch (const FiberUnwind &) {
            self->error = std::make_exception_ptr(FiberUnwind{});
        } catch (...) {
            if (self->released) std::terminate(); // nobody is left to tell, as for std::thread
            self->error = std::current_exception();
        }
        self->finished = true;
        if (self->released) delete self;
        return nullptr;
    }
};

} // namespace detail

/// A task of a scheduler, and what it returns. Move-only; letting go of it detaches the task.
template <class T> class Task {
public:
    Task() noexcept = default;
    Task(Task &&other) noexcept
        : task_(std::exchange(other.task_, nullptr)), state_(std::exchange(other.state_, nullptr)) {
    }
    Task &operator=(Task &&other) noexcept {
        std::swap(task_, other.task_);
        std::swap(state_, other.state_);
        return *this;
    }
    ~Task() { detach(); }

    /// Waits inside of tasks; outside the task must have ended. What it returns or throws. Once.
    T join() {
        if (task_ == nullptr || state_->orphan)
            raise(HF_E_CLOSED, "the task was joined or detached, or its scheduler is gone");
        detail::go_on(detail::set_aside([this] { return hf_task_join(task_, nullptr); }),
                      "outside of tasks only a task that has ended can be joined");
        task_ = nullptr;
        std::unique_ptr<detail::TaskState<T>> owned(std::exchange(state_, nullptr));
        if (owned->error) std::rethrow_exception(owned->error);
        return owned->outcome.take();
    }
    void detach() noexcept {
        if (task_ == nullptr) return;
        auto *state = std::exchange(state_, nullptr);
        auto *task = std::exchange(task_, nullptr);
        if (!state->orphan) hf_task_detach(task);
        if (state->finished || state->orphan)
            delete state;
        else
            state->released = true;
    }
    /// Nothing happens to a task whose scheduler is gone.
    void unpark() noexcept {
        if (state_ != nullptr && !state_->orphan) hf_task_unpark(task_);
    }
    /// Returned, threw, or was unwound with its scheduler.
    [[nodiscard]] bool finished() const noexcept {
        return state_ != nullptr && (state_->finished || state_->orphan);
    }
    [[nodiscard]] explicit operator bool() const noexcept { return task_ != nullptr; }
    [[nodiscard]] hf_task *native() const noexcept { return task_; }

private:
    friend class Scheduler;
    Task(hf_task *task, detail::TaskState<T> *state) noexcept : task_(task), state_(state) {}

    hf_task *task_ = nullptr;
    detail::TaskState<T> *state_ = nullptr;
};

/// Owns a run queue: move-only, one pointer wide.
class Scheduler {
public:
    explicit Scheduler(hf_stack_pool *pool = nullptr) : core_(std::make_unique<Core>()) {
        check(hf_scheduler_create(pool, &core_->native));
    }
    explicit Scheduler(const StackPool &pool) : Scheduler(pool.native()) {}

    /// A detached task that throws ends the process: nobody is left to tell.
    template <class Function> auto spawn(Function &&function, const char *name = nullptr) {
        using Body = std::decay_t<Function>;
        using Result = std::invoke_result_t<Body &>;
        auto state =
            std::make_unique<detail::TaskBody<Result, Body>>(std::forward<Function>(function));
        hf_task *task = nullptr;
        check(hf_scheduler_spawn(core_->native, detail::TaskBody<Result, Body>::run, state.get(),
                                 name, &task));
        state->link(&core_->states);
        return Task<Result>(task, state.release());
    }
    /// Until the queue is empty: true if every task has ended, false if some are parked.
    bool run() {
        const Status status = detail::set_aside([this] { return hf_scheduler_run(core_->native); });
        if (status == HF_E_BUSY) return false;
        check(status, "run is for the outside of a scheduler's tasks");
        return true;
    }
    [[nodiscard]] std::uint64_t live() const noexcept { return hf_scheduler_live(core_->native); }
    [[nodiscard]] std::uint64_t ready() const noexcept { return hf_scheduler_ready(core_->native); }
    [[nodiscard]] hf_scheduler *native() const noexcept { return core_->native; }

private:
    struct Core {
        hf_scheduler *native = nullptr;
        detail::TaskStateBase *states = nullptr;
        Core() noexcept = default;
        Core(const Core &) = delete;
        Core &operator=(const Core &) = delete;
        /// Unwinds what is left. Ends the process from inside one of its tasks.
        ~Core() {
            if (detail::set_aside([this] { return hf_scheduler_destroy(native); }) != HF_OK)
                std::terminate();
            // All first: what a task that never started holds may be the handle of another one.
            for (detail::TaskStateBase *state = states; state != nullptr; state = state->next)
                state->orphan = true;
            while (states != nullptr) {
                detail::TaskStateBase *state = states;
                state->unlink();
                if (state->released) delete state;
            }
        }
    };
    std::unique_ptr<Core> core_;
};

} // namespace hf

#endif
