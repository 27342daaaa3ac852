// bench_shm_map - maps from 8 to 56 bytes side by side: in shared memory, and in the process's own.
//
//   holdfast            hf_shm_map: shared, survives kill -9
//   lmdb, lmdb-batch    LMDB in /dev/shm without syncing: a transaction per operation, or per 100
//   unordered_map       std::unordered_map: private, no locks: what a local table costs
//   locked              the same under a process-shared robust mutex: what a lock alone costs
//
// Workloads, at 1,000 and 100,000 keys: get (there), miss (not there), put (known key), cycle (put of a
// new key and erase of an old one: counted as two), walk (per key). Keys in random order. The reading
// copies the value.
// Source  the method is contest.hpp's.
#include <cstdint>
#include <cstring>
#include <memory>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>

#include <holdfast/shm_map.hpp>

#include "contest.hpp"
#ifdef BENCH_LMDB
#include <filesystem>
#include <lmdb.h>
#endif

namespace {

struct Value {
    std::uint64_t words[7];
};

[[noreturn]] void fail(const std::string &what) {
    std::fprintf(stderr, "bench_shm_map: %s\n", what.c_str());
    std::exit(1);
}

/// Keys 0 to count - 1, scattered over 64 bits, in an order that caches cannot guess.
class Keys {
public:
    explicit Keys(std::uint64_t count) : count_(count) {}
    std::uint64_t random() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return key(
            static_cast<std::uint64_t>((static_cast<unsigned __int128>(state_) * count_) >> 64));
    }
    static std::uint64_t key(std::uint64_t number) { return number * 0x9E3779B97F4A7C15u; }

private:
    std::uint64_t count_, state_ = 88172645463325252u;
};

/// A map with get, put, erase and walk; `begin` and `end` enclose a slice.
struct Holdfast {
    explicit Holdfast(std::uint64_t count) {
        hf_shm_options options;
        hf_shm_options_init(&options, (4u << 20) + count * 512);
        hf::check(hf_shm_create_anonymous(&options, &shm), hf_shm_detail());
        map = std::make_unique<hf::shm::Map<std::uint64_t, Value>>(shm, "map", count + 1);
    }
    bool get(std::uint64_t key, Value &value) {
        std::size_t size = 0;
        return hf_shm_map_get(map->native(), &key, 8, &value, sizeof value, &size, nullptr) ==
               HF_OK;
    }
    void put(std::uint64_t key, const Value &value) {
        if (hf_shm_map_put(map->native(), &key, 8, &value, sizeof value, nullptr) != HF_OK)
            fail(hf_shm_detail());
    }
    void erase(std::uint64_t key) { (void)hf_shm_map_erase(map->native(), &key, 8); }
    std::uint64_t walk() {
        hf_shm_map_cursor cursor{};
        std::uint64_t key = 0, sum = 0;
        Value value;
        while (hf_shm_map_next(map->native(), &cursor, &key, 8, nullptr, &value, sizeof value,
                               nullptr, nullptr) == HF_OK)
            sum += value.words[0];
        return sum;
    }
    void begin(bool) {}
    void end() {}
    hf_shm *shm = nullptr;
    std::unique_ptr<hf::shm::Map<std::uint64_t, Value>> map;
};

struct Local {
    explicit Local(std::uint64_t count) { map.reserve(count + 1); }
    bool get(std::uint64_t key, Value &value) {
        const auto it = map.find(key);
        if (it == map.end()) return false;
        value = it->second;
        return true;
    }
    void put(std::uint64_t key, const Value &value) { map.insert_or_assign(key, value); }
    void erase(std::uint64_t key) { map.erase(key); }
    std::uint64_t walk() {
        std::uint64_t sum = 0;
        for (const auto &[key, value] : map)
            sum += value.words[0];
        return sum;
    }
    void begin(bool) {}
    void end() {}
    std::unordered_map<std::uint64_t, Value> map;
};

struct Locked : Local {
    explicit Locked(std::uint64_t count) : Local(count) {
        mutex = static_cast<pthread_mutex_t *>(mmap(nullptr, sizeof *mutex, PROT_READ | PROT_WRITE,
                                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        if (mutex == MAP_FAILED) fail("no memory for a mutex");
        pthread_mutexattr_t kind;
        pthread_mutexattr_init(&kind);
        pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(mutex, &kind);
    }
    template <class Function> auto with(Function &&function) {
        pthread_mutex_lock(mutex);
        auto result = function();
        pthread_mutex_unlock(mutex);
        return result;
    }
    bool get(std::uint64_t key, Value &value) {
        return with([&] { return Local::get(key, value); });
    }
    void put(std::uint64_t key, const Value &value) {
        with([&] { return Local::put(key, value), 0; });
    }
    void erase(std::uint64_t key) {
        with([&] { return Local::erase(key), 0; });
    }
    pthread_mutex_t *mutex;
};

#ifdef BENCH_LMDB
/// `batch` operations per transaction.
struct Lmdb {
    Lmdb(std::uint64_t count, unsigned batch_size) : batch(batch_size) {
        path = "/dev/shm/bench-lmdb-" + std::to_string(getpid()) + "-" + std::to_string(batch) +
               "-" + std::to_string(count);
        std::filesystem::create_directory(path);
        check(mdb_env_create(&env));
        check(mdb_env_set_mapsize(env, (16u << 20) + count * 2048));
        check(mdb_env_open(env, path.c_str(), MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP, 0600));
        check(mdb_txn_begin(env, nullptr, 0, &txn));
        check(mdb_dbi_open(txn, nullptr, MDB_INTEGERKEY, &db));
        check(mdb_txn_commit(txn));
        txn = nullptr;
    }
    ~Lmdb() {
        mdb_env_close(env);
        std::filesystem::remove_all(path);
    }
    Lmdb(const Lmdb &) = delete;
    Lmdb &operator=(const Lmdb &) = delete;

    static void check(int status) {
        if (status != 0) fail(mdb_strerror(status));
    }
    void begin(bool write) { writes = write; }
    void end() {
        if (txn != nullptr) finish();
    }
    void finish() {
        if (writes)
            check(mdb_txn_commit(txn));
        else
            mdb_txn_reset(reader = txn);
        txn = nullptr;
        used = 0;
    }
    void start() {
        if (txn != nullptr) return;
        if (writes)
            check(mdb_txn_begin(env, nullptr, 0, &txn));
        else if (reader != nullptr)
            check(mdb_txn_renew(txn = reader));
        else
            check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn));
    }
    void done() {
        if (++used == batch) finish();
    }
    bool get(std::uint64_t key, Value &value) {
        start();
        MDB_val k{sizeof key, &key}, v{};
        const int status = mdb_get(txn, db, &k, &v);
        if (status == 0) std::memcpy(&value, v.mv_data, sizeof value);
        done();
        return status == 0;
    }
    void put(std::uint64_t key, const Value &value) {
        start();
        MDB_val k{sizeof key, &key}, v{sizeof value, const_cast<Value *>(&value)};
        check(mdb_put(txn, db, &k, &v, 0));
        done();
    }
    void erase(std::uint64_t key) {
        start();
        MDB_val k{sizeof key, &key};
        (void)mdb_del(txn, db, &k, nullptr);
        done();
    }
    std::uint64_t walk() {
        start();
        MDB_cursor *cursor = nullptr;
        check(mdb_cursor_open(txn, db, &cursor));
        MDB_val k{}, v{};
        std::uint64_t sum = 0;
        Value value;
        while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
            std::memcpy(&value, v.mv_data, sizeof value);
            sum += value.words[0];
        }
        mdb_cursor_close(cursor);
        finish();
        return sum;
    }
    unsigned batch, used = 0;
    bool writes = false;
    std::string path;
    MDB_env *env = nullptr;
    MDB_txn *txn = nullptr, *reader = nullptr;
    MDB_dbi db = 0;
};
#endif

volatile std::uint64_t sink;

/// Every workload at `count` keys on one map.
template <class Map>
void enter(const std::string &name, std::uint64_t count, std::shared_ptr<Map> map) {
    const std::string keys_text = count == 1000 ? "1k" : "100k";
    auto keys = std::make_shared<Keys>(count);
    map->begin(true);
    for (std::uint64_t number = 0; number < count; ++number)
        map->put(Keys::key(number), Value{{number}});
    map->end();
    contest::add("get " + keys_text, name, [=](std::size_t operations) {
        Value value{};
        map->begin(false);
        for (std::size_t i = 0; i < operations; ++i)
            if (!map->get(keys->random(), value)) fail("a key is gone");
        map->end();
        sink = value.words[0];
    });
    contest::add("miss " + keys_text, name, [=](std::size_t operations) {
        Value value{};
        map->begin(false);
        for (std::size_t i = 0; i < operations; ++i)
            if (map->get(keys->random() + 1, value)) fail("a key that nobody put");
        map->end();
    });
    contest::add("put " + keys_text, name, [=](std::size_t operations) {
        map->begin(true);
        for (std::size_t i = 0; i < operations; ++i)
            map->put(keys->random(), Value{{i}});
        map->end();
    });
    auto next = std::make_shared<std::uint64_t>(0);
    contest::add(
        "cycle " + keys_text, name,
        [=](std::size_t operations) {
            map->begin(true);
            for (std::size_t i = 0; i < operations; i += 2) {
                const std::uint64_t gone = (*next)++ % count;
                map->erase(Keys::key(gone));
                map->put(Keys::key(gone), Value{{gone}});
            }
            map->end();
        },
        2);
    contest::add(
        "walk " + keys_text, name,
        [=](std::size_t operations) {
            for (std::size_t i = 0; i < operations; i += count) {
                map->begin(false);
                sink = map->walk();
                map->end();
            }
        },
        count);
}

} // namespace

int main(int argc, char **argv) {
    for (const std::uint64_t count : {1000u, 100000u}) {
        enter("holdfast", count, std::make_shared<Holdfast>(count));
#ifdef BENCH_LMDB
        enter("lmdb", count, std::make_shared<Lmdb>(count, 1));
        enter("lmdb-batch", count, std::make_shared<Lmdb>(count, 100));
#endif
        enter("unordered_map", count, std::make_shared<Local>(count));
        enter("locked", count, std::make_shared<Locked>(count));
    }
    std::stable_sort(contest::all.begin(), contest::all.end(),
                     [](const auto &a, const auto &b) { return a.workload < b.workload; });
#ifndef BENCH_LMDB
    std::fprintf(stderr, "bench_shm_map: without LMDB, liblmdb-dev is not installed\n");
#endif
    return contest::main(argc, argv);
}
