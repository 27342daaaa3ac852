// shm_speaker.cpp - writes or reads one of everything in a segment that somebody else may have made.
//
//   shm_speaker SEGMENT write|read       what it writes and expects is what test_shm_interop.py says
#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <holdfast/shm.hpp>
#include <holdfast/shm_array.hpp>
#include <holdfast/shm_barrier.hpp>
#include <holdfast/shm_cells.hpp>
#include <holdfast/shm_event.hpp>
#include <holdfast/shm_map.hpp>
#include <holdfast/shm_mutex.hpp>
#include <holdfast/shm_pool.hpp>
#include <holdfast/shm_queue.hpp>
#include <holdfast/shm_ring.hpp>
#include <holdfast/shm_semaphore.hpp>
#include <holdfast/shm_versioned.hpp>

namespace {

struct [[gnu::packed]] Tick {
    double price;
    std::int32_t count;
};

} // namespace

template <> struct hf::shm::ElementFormat<Tick> {
    static constexpr const char *value = "[('price','<f8'),('count','<i4')]";
};

namespace {

void expect(bool condition, const char *what) {
    if (!condition) throw std::runtime_error(std::string("not so: ") + what);
}

// What processes wait for each other with.
void meet(hf_shm *shm, bool writes) {
    const hf_shm_mode mode = writes ? HF_SHM_OPEN_OR_CREATE : HF_SHM_OPEN;
    const hf::shm::Event ready{shm, "ready", {.automatic = true}, mode};
    const hf::shm::Semaphore tokens{
        shm, "tokens", {.permits = 0, .counted = true, .most = 9}, mode};
    const hf::shm::Semaphore permits{shm, "permits", {.permits = 5}, mode};
    hf::shm::Mutex guard{shm, "guard", mode};
    const hf::shm::Barrier step{
        shm, "step", {.parties = 1, .on_death = HF_SHM_BARRIER_GO_ON}, mode};
    const std::lock_guard lock{guard};
    const auto all = permits.hold(5, hf::shm::Timeout{});
    if (writes) {
        ready.set();
        tokens.release(3);
        for (int i = 0; i < 2; i++)
            step.arrive_and_wait();
    } else {
        expect(ready.wait(hf::shm::Timeout{}) && !ready.is_set(), "event");
        expect(tokens.try_acquire_for(hf::shm::Timeout{}, 3) && tokens.value() == 0, "tokens");
        expect(step.round() == 2, "rounds");
    }
}

void write_all(hf_shm *shm) {
    meet(shm, true);
    hf::shm::Queue<Tick> ticks{shm, "ticks", {.capacity = 16}};
    for (std::int32_t i = 0; i < 3; i++)
        expect(ticks.put(Tick{1.5 * i, i}), "room");
    hf::shm::Array<float> field{shm, "field", {2, 3}};
    for (std::size_t i = 0; i < 6; i++)
        field[i] = static_cast<float>(i * i);
    hf::shm::Versioned<std::int64_t> state{shm, "state", {.count = 5}};
    state.write(std::array<std::int64_t, 5>{1, 2, 3, 4, -5});
    hf::shm::Ring<double> stream{shm, "stream", {.capacity = 64}};
    for (const double value : {0.5, 1.5, 2.5, 3.5})
        expect(stream.push(value), "room");
    const hf::shm::Cells<std::int64_t> counts{shm, "counts", {.count = 2}};
    counts.add(1, 42);
    const hf::shm::Map<std::int64_t, double> values{shm, "values", 100};
    for (std::int64_t key = -2; key <= 2; key++)
        values.put(key, static_cast<double>(key) / 4);
    const hf::shm::Pool<double> objects{shm, "objects", {.capacity = 4}};
    auto object = objects.acquire();
    *object = 6.25;
    counts.store(0, static_cast<std::int64_t>(object.handle()));
    object.pass();
    hf::shm::ByteQueue notes{shm, "notes", 64, {.capacity = 8}};
    expect(notes.put(std::as_bytes(std::span("hello", 5))), "room");
}

void read_all(hf_shm *shm) {
    meet(shm, false);
    auto ticks = hf::shm::Queue<Tick>::open(shm, "ticks");
    for (std::int32_t i = 0; i < 3; i++) {
        const auto tick = ticks.get();
        expect(tick && tick->price == 1.5 * i && tick->count == i, "tick");
    }
    const auto field = hf::shm::Array<float>::open(shm, "field");
    expect(field.shape().size() == 2 && field(1, 2) == 25, "field");
    auto state = hf::shm::Versioned<std::int64_t>::open(shm, "state");
    std::vector<std::int64_t> numbers(5);
    expect(state.read(numbers) == 1 && numbers[0] == 1 && numbers[4] == -5, "state");
    auto stream = hf::shm::Ring<double>::open(shm, "stream");
    expect(stream.latest(8) == std::vector<double>{0.5, 1.5, 2.5, 3.5}, "stream");
    const hf::shm::Cells<std::int64_t> counts{shm, "counts", {.count = 2}, HF_SHM_OPEN};
    expect(counts.load(1) == 42, "count");
    const hf::shm::Map<std::int64_t, double> values{shm, "values"};
    for (std::int64_t key = -2; key <= 2; key++)
        expect(values.get(key) == static_cast<double>(key) / 4, "value");
    const hf::shm::Pool<double> objects{shm, "objects", {}, HF_SHM_OPEN};
    const auto object = objects.adopt(static_cast<hf_shm_handle>(counts.load(0)));
    expect(*object == 6.25, "object");
    const auto note = hf::shm::ByteQueue::open(shm, "notes").get();
    expect(note && note->size() == 5 && static_cast<char>((*note)[4]) == 'o', "note");
}

} // namespace

int main(int argc, char **argv) {
    try {
        expect(argc == 3, "two arguments");
        hf::shm::Segment segment = hf::shm::Segment::open(argv[1]);
        (std::string(argv[2]) == "write" ? write_all : read_all)(segment.native());
        segment.close();
        return 0;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
