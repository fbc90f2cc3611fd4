/*
 * libdiffulex: an embeddable serving engine for block diffusion language models.
 *
 * Conventions
 *   Handles are opaque. Strings are UTF-8 and end with a NUL. Times are nanoseconds of the
 * monotonic clock. Every function that can fail returns a diffulex_status (negative = error,
 * positive = a fact, 0 = done) and takes a trailing, nullable diffulex_error**: on failure it
 * receives an error object that the caller frees. Output parameters are written on success only,
 * unless said otherwise. No function prints, exits, aborts, changes process-wide settings or
 * throws. Structs that begin with struct_size may grow at their end. Set the field to sizeof the
 * struct (the *_init functions do); zero in any field means its default. A struct longer than the
 * library knows is accepted while its unknown tail is zero. Arrays of structs are written with the
 * caller's element stride, so that elements may grow too.
 *
 * Thread classes (@thread)
 *   S  pure: any thread, any time.
 *   A  any thread, also while a step runs; never waits for a step.
 *   O  one caller at a time; a second caller gets DIFFULEX_E_INVALID_STATE.
 *   X  nothing else may use the handle during and after the call.
 */
#ifndef DIFFULEX_H
#define DIFFULEX_H

#include <stddef.h>
#include <stdint.h>

#if defined(DIFFULEX_STATIC)
#define DIFFULEX_API
#elif defined(_WIN32)
#ifdef DIFFULEX_BUILD
#define DIFFULEX_API __declspec(dllexport)
#else
#define DIFFULEX_API __declspec(dllimport)
#endif
#else
#define DIFFULEX_API __attribute__((visibility("default")))
#endif
#if defined(__GNUC__)
#define DIFFULEX_CHECK __attribute__((warn_unused_result))
#else
#define DIFFULEX_CHECK
#endif

#define DIFFULEX_VERSION_MAJOR 0
#define DIFFULEX_VERSION_MINOR 1
#define DIFFULEX_VERSION_PATCH 0
#define DIFFULEX_ABI_VERSION \
  1 /* changes when an older program can no longer run on a newer library */

#ifdef __cplusplus
extern "C" {
#endif

/* An engine: one model on one device with one decoding strategy, its requests and its KV cache. */
typedef struct diffulex_engine diffulex_engine;
/* A tokenizer: immutable and reference-counted, usable without any engine. */
typedef struct diffulex_tokenizer diffulex_tokenizer;
/* An incremental decoder of one token stream to text. */
typedef struct diffulex_detok diffulex_detok;
/* An immutable error: status, message and details. */
typedef struct diffulex_error diffulex_error;
/* A request of one engine. Ids are never used again; 0 is none. */
typedef uint64_t diffulex_request_id;
/* A token id; -1 is none. */
typedef int32_t diffulex_token;

/* Outcome of a call. */
typedef int32_t diffulex_status;
enum {
  DIFFULEX_OK = 0,          /* done */
  DIFFULEX_S_TIMEOUT = 1,   /* the time ran out before anything happened */
  DIFFULEX_S_IDLE = 2,      /* there was nothing to do */
  DIFFULEX_S_END = 3,       /* the request has finished and everything was read */
  DIFFULEX_E_INTERNAL = -1, /* a defect of the library */
  DIFFULEX_E_INVALID_ARGUMENT =
      -2, /* a value is out of range or contradicts another; detail "option" names it */
  DIFFULEX_E_UNKNOWN_OPTION = -3, /* no option of that key; details "option", "allowed" */
  DIFFULEX_E_INVALID_STATE =
      -4, /* not now: a second stepper, an engine that runs its own thread, ... */
  DIFFULEX_E_NOT_FOUND = -5,        /* no such request, strategy or index */
  DIFFULEX_E_BUFFER_TOO_SMALL = -6, /* the needed size is in the out parameter */
  DIFFULEX_E_HOST_MEMORY = -7,      /* host memory ran out */
  DIFFULEX_E_DEVICE_MEMORY = -8, /* device memory ran out; details "bytes_needed", "bytes_free" */
  DIFFULEX_E_DEVICE_UNAVAILABLE = -9, /* the device is not there or not usable; detail "device" */
  DIFFULEX_E_DEVICE_FAULT = -10, /* the device failed; the engine only answers reads from now on */
  DIFFULEX_E_IO = -11,           /* a file cannot be read; detail "path" */
  DIFFULEX_E_MODEL_FORMAT = -12, /* a checkpoint file is broken; details "path", "tensor" */
  DIFFULEX_E_MODEL_UNSUPPORTED = -13, /* a sound checkpoint of a kind this library does not run */
  DIFFULEX_E_STRATEGY_UNSUPPORTED = -14, /* the strategy does not exist or does not fit the model */
  DIFFULEX_E_TOKENIZER = -15, /* the tokenizer is broken or of an unsupported kind; detail "path" */
  DIFFULEX_E_CANCELLED = -16, /* the progress callback asked to stop */
  DIFFULEX_E_QUEUE_FULL = -17,     /* max_queue requests are waiting already */
  DIFFULEX_E_CONTEXT_LENGTH = -18, /* the prompt leaves no room for output below max_model_len */
  DIFFULEX_E_UNSUPPORTED = -19,    /* not on this platform or not in this build */
  DIFFULEX_E_ABI_MISMATCH = -20,   /* a struct uses fields that this library does not know */
  DIFFULEX_E_CALLBACK = -21,       /* a callback failed */
  DIFFULEX_E_PEER = -22            /* another member of a parallel group failed */
};

typedef int32_t diffulex_log_level;
enum {
  DIFFULEX_LOG_TRACE = 0,
  DIFFULEX_LOG_DEBUG = 1,
  DIFFULEX_LOG_INFO = 2,
  DIFFULEX_LOG_WARN = 3,
  DIFFULEX_LOG_ERROR = 4,
  DIFFULEX_LOG_OFF = 5
};

/* Element type of weights or of the KV cache. */
typedef int32_t diffulex_dtype;
enum {
  DIFFULEX_DTYPE_AUTO = 0, /* the best the device multiplies natively: bf16 or f32 */
  DIFFULEX_DTYPE_F32 = 1,
  DIFFULEX_DTYPE_BF16 = 3,
  DIFFULEX_DTYPE_I8 = 4 /* weights on the CPU: quantised when they are loaded, activations as they
                           come (W8A8); half the memory of bf16 */
};

/* Who steps an engine. */
typedef int32_t diffulex_run_mode;
enum {
  DIFFULEX_RUN_MANUAL = 0, /* the caller, with diffulex_engine_step */
  DIFFULEX_RUN_THREAD = 1  /* a thread of the library, between diffulex_engine_start and _stop */
};

/* Phases of diffulex_engine_create, in order. */
typedef int32_t diffulex_load_phase;
enum {
  DIFFULEX_LOAD_OPEN = 0,    /* reading and checking metadata */
  DIFFULEX_LOAD_WEIGHTS = 1, /* packing weights; done and total are bytes */
  DIFFULEX_LOAD_CACHE = 3,   /* reserving the KV cache */
  DIFFULEX_LOAD_WARMUP = 4   /* preparing kernels */
};

typedef int32_t diffulex_request_state;
enum {
  DIFFULEX_REQ_QUEUED = 0,    /* waits for admission */
  DIFFULEX_REQ_PREFILL = 1,   /* the prompt (or what a preemption dropped) is being computed */
  DIFFULEX_REQ_DECODE = 2,    /* blocks are being denoised */
  DIFFULEX_REQ_PREEMPTED = 3, /* lost its KV pages to others; resumes without any loss of tokens */
  DIFFULEX_REQ_FINISHED = 4
};

/* Why a request ended. */
typedef int32_t diffulex_finish;
enum {
  DIFFULEX_FINISH_NONE = 0,        /* it has not */
  DIFFULEX_FINISH_EOS = 1,         /* an end-of-sequence token of the model was committed */
  DIFFULEX_FINISH_STOP_TOKEN = 2,  /* a stop token of the request was committed */
  DIFFULEX_FINISH_STOP_STRING = 3, /* a stop string was committed; the text ends in front of it */
  DIFFULEX_FINISH_MAX_TOKENS = 4,  /* max_tokens output tokens were committed */
  DIFFULEX_FINISH_CONTEXT = 5,     /* max_model_len positions are filled */
  DIFFULEX_FINISH_MAX_STEPS =
      6, /* max_steps forwards were spent; what was filled without a gap is committed */
  DIFFULEX_FINISH_REPETITION = 7, /* max_repetition_run equal tokens in a row were committed */
  DIFFULEX_FINISH_DEADLINE =
      8, /* deadline_ms went by; what was filled without a gap is committed */
  DIFFULEX_FINISH_ABORTED =
      9, /* diffulex_request_abort, or the engine was stopped without draining */
  DIFFULEX_FINISH_ERROR = 10 /* this request failed; status says how */
};

/* Kinds of events; also bits of diffulex_engine_config.event_mask. */
typedef int32_t diffulex_event_type;
enum {
  DIFFULEX_EVENT_STARTED = 1,       /* admitted for the first time */
  DIFFULEX_EVENT_COMMIT = 2,        /* committed_delta more tokens are final */
  DIFFULEX_EVENT_REVISION = 4,      /* tentative tokens changed */
  DIFFULEX_EVENT_PREEMPTED = 8,     /* lost its pages and waits again */
  DIFFULEX_EVENT_FINISHED = 16,     /* the last event of a request */
  DIFFULEX_EVENT_ENGINE_FAULT = 256 /* the engine failed; request is 0, status says how */
};

typedef int32_t diffulex_block_state;
enum {
  DIFFULEX_BLOCK_PLANNED = 0,   /* in the buffer, not opened */
  DIFFULEX_BLOCK_ACTIVE = 1,    /* being denoised */
  DIFFULEX_BLOCK_FILLED = 2,    /* no empty slot left, not final yet */
  DIFFULEX_BLOCK_COMMITTED = 3, /* final; its keys and values are stored by the next forward */
  DIFFULEX_BLOCK_CACHED = 4     /* final and in the KV cache */
};

/* diffulex_slot.state */
enum {
  DIFFULEX_SLOT_EMPTY = 0,     /* nothing chosen yet (for masking models: the mask token) */
  DIFFULEX_SLOT_TENTATIVE = 1, /* a token that may still change or be dropped */
  DIFFULEX_SLOT_SETTLED = 2,   /* will not change, but is not committed: an earlier slot is open */
  DIFFULEX_SLOT_COMMITTED = 3  /* final */
};

/* Bits of diffulex_slot.flags. */
enum {
  DIFFULEX_SLOT_CHANGED = 1,  /* differs from the step before */
  DIFFULEX_SLOT_REVEALED = 2, /* was empty the step before */
  DIFFULEX_SLOT_PROMPT = 64   /* belongs to the prompt */
};

/* Bits of diffulex_request_params.flags. */
enum {
  DIFFULEX_REQUEST_IGNORE_EOS = 1, /* end-of-sequence tokens of the model are ordinary tokens */
  DIFFULEX_REQUEST_TRACK_SLOTS =
      2, /* keep confidence, entropy and revisions per slot for diffulex_request_snapshot */
  DIFFULEX_REQUEST_NO_CACHE = 4 /* neither use nor fill the prefix cache */
};

/* Bits of the flags of diffulex_tokenizer_encode, _decode and diffulex_detok_create. */
enum {
  DIFFULEX_TEXT_PARSE_SPECIAL =
      1, /* encode: the text of a special token becomes that token (default: plain text) */
  DIFFULEX_TEXT_KEEP_SPECIAL = 2 /* decode: special tokens are written out (default: left out) */
};

/* Types of options; diffulex_option_info.type. */
enum {
  DIFFULEX_OPTION_BOOL = 0,
  DIFFULEX_OPTION_INT = 1,
  DIFFULEX_OPTION_FLOAT = 2,
  DIFFULEX_OPTION_STRING = 3
};

/* An option: key and value as text. Frozen layout. */
typedef struct diffulex_kv {
  const char* key;   /* borrowed during the call */
  const char* value; /* "true"/"false", a number, or text; borrowed during the call */
} diffulex_kv;

/* What is added to the logit of a token, before temperature and everything else. Frozen layout. */
typedef struct diffulex_logit_bias {
  diffulex_token token;
  float bias; /* finite, or -INFINITY: the token is never chosen */
} diffulex_logit_bias;

/* One message of a conversation. Frozen layout. */
typedef struct diffulex_message {
  const char* role;    /* "system", "user", "assistant", ...; borrowed during the call */
  const char* content; /* borrowed during the call */
} diffulex_message;

/* One line of the log; valid during the callback. */
typedef struct diffulex_log_record {
  uint32_t struct_size;
  diffulex_log_level level;
  uint64_t time_ns;            /* monotonic clock */
  diffulex_request_id request; /* 0: not about a request */
  const char* component;       /* "loader", "engine", ... */
  const char* message;         /* one whole line without a newline */
} diffulex_log_record;
/* Called from the thread that logs; must not call functions of class O or X. */
typedef void (*diffulex_log_fn)(const diffulex_log_record* record, void* user_data);

/* How far a load is; valid during the callback. */
typedef struct diffulex_progress {
  uint32_t struct_size;
  diffulex_load_phase phase;
  uint64_t done;    /* bytes of this phase */
  uint64_t total;   /* bytes of this phase; 0 = not known */
  const char* item; /* e.g. the tensor at work; never NULL */
  float fraction;   /* of the whole load, 0..1, never falls */
  uint32_t device;  /* index of the device */
} diffulex_progress;
/* Runs on the thread that called diffulex_engine_create, about 20 times a second at most. Return 0
 * to go on; anything else ends the load with DIFFULEX_E_CANCELLED. */
typedef int32_t (*diffulex_progress_fn)(const diffulex_progress* progress, void* user_data);

/* A device. Strings live until the process ends. */
typedef struct diffulex_device_info {
  uint32_t struct_size;
  int32_t usable;        /* 1 or 0 */
  const char* selector;  /* what diffulex_engine_config.devices takes: "cpu", "cuda:0" */
  const char* name;      /* e.g. the processor's model name */
  const char* reason;    /* why it is not usable; "" when it is */
  uint64_t memory_total; /* bytes */
  uint64_t memory_free; /* bytes available to a new allocation now; 0: not known without using it */
  const char* id;       /* of the hardware, e.g. "GPU-..."; "" where it has none */
  int32_t compute_major; /* CUDA compute capability; 0 elsewhere */
  int32_t compute_minor;
} diffulex_device_info;

/* What an engine is made of. Strings and arrays are copied by diffulex_engine_create. Every number
 * is also an engine option of the same name (see diffulex_engine_option); a field and an option
 * that both say something must say the same. */
typedef struct diffulex_engine_config {
  uint32_t struct_size;
  uint32_t flags;            /* 0 */
  const char* model_dir;     /* Hugging Face checkpoint directory; required */
  const char* tokenizer_dir; /* NULL: model_dir */
  const char* devices;       /* "cpu", "cuda", "cuda:1" or "cuda:" and an id; NULL: "cpu" */
  const char* strategy;      /* NULL: the model family's own, e.g. "multi_bd" */
  const diffulex_kv* strategy_options; /* see diffulex_strategy_option; defaults of every request */
  size_t strategy_option_count;
  const diffulex_kv* engine_options; /* see diffulex_engine_option */
  size_t engine_option_count;
  diffulex_dtype weight_dtype; /* compute type of the weights */
  diffulex_dtype kv_dtype;     /* of the KV cache; AUTO = as the weights, for I8 as for AUTO */
  diffulex_run_mode run_mode;
  uint32_t block_size;    /* tokens of a diffusion block; 0 = the checkpoint's, or the family's */
  uint32_t buffer_blocks; /* blocks in flight per request, 1..32; 0 = the family's default */
  uint32_t page_size;     /* tokens of a KV page, a multiple of block_size; 0 = default */
  uint32_t cpu_threads;   /* compute threads, the stepping thread included; 0 = one per core */
  uint32_t max_requests;  /* requests that run together; 0 = default */
  uint32_t max_batched_tokens; /* rows of one forward; 0 = default */
  uint32_t max_model_len;      /* prompt and output of one request, tokens; 0 = the checkpoint's, as
                                  memory allows */
  uint32_t max_queue;  /* requests that wait, those that ended since the last step included; 0 =
                          default */
  uint32_t event_mask; /* DIFFULEX_EVENT_* bits to deliver; 0 = all but REVISION */
  uint64_t kv_bytes;   /* memory of the KV cache; 0 = default */
  diffulex_progress_fn progress; /* NULL: none */
  void* progress_user_data;
  diffulex_log_fn log; /* NULL: silent */
  void* log_user_data;
  diffulex_log_level log_level; /* lowest level delivered */
  uint32_t step_log_capacity;   /* steps that diffulex_engine_read_steps remembers; 0 = default */
} diffulex_engine_config;

/* What an engine would need, in bytes. On a CUDA device the KV cache is an estimate unless kv_bytes
 * says its size: an engine there gives it what a warm-up leaves, see diffulex_engine_get_info. */
typedef struct diffulex_plan {
  uint32_t struct_size;
  uint32_t kv_pages;          /* pages of the KV cache */
  uint64_t weight_bytes;      /* packed weights */
  uint64_t kv_bytes;          /* the KV cache */
  uint64_t workspace_bytes;   /* activations and tables */
  uint64_t total_bytes;       /* the three together */
  uint64_t available_bytes;   /* what the device has free now */
  uint64_t shortfall_bytes;   /* total less available, 0 when it fits */
  uint32_t max_model_len;     /* as it would be */
  uint32_t max_cached_tokens; /* kv_pages * page_size */
  uint32_t block_size;        /* tokens; as it would be */
  uint32_t buffer_blocks;     /* as it would be */
  const char* family;         /* e.g. "sdar"; of static storage, like the next one */
  const char* strategy;       /* as it would be, e.g. "multi_bd" */
} diffulex_plan;

/* What an engine runs with, as it is and not as it was asked for. Strings live as long as the
 * engine. */
typedef struct diffulex_engine_info {
  uint32_t struct_size;
  int32_t vocab_size;        /* ids that can be sampled are [0, vocab_size) */
  diffulex_token eos_token;  /* the first of the model's end-of-sequence tokens, -1 = none */
  diffulex_token mask_token; /* -1: the model has none */
  uint32_t block_size;       /* tokens */
  uint32_t buffer_blocks;
  uint32_t page_size;     /* tokens */
  uint32_t max_model_len; /* tokens */
  uint32_t max_requests;
  uint32_t max_batched_tokens;
  uint32_t kv_pages;
  uint32_t cpu_threads;
  diffulex_dtype weight_dtype;
  diffulex_dtype kv_dtype;
  uint32_t prefix_caching; /* 1: equal prefixes are computed once */
  uint32_t reserved0;
  uint64_t weight_bytes;
  uint64_t kv_bytes;
  const char* architecture; /* architectures[0] of config.json */
  const char* family;       /* e.g. "sdar" */
  const char* strategy;     /* e.g. "multi_bd" */
  const char* device;       /* e.g. "cpu" */
  const char* kernels;      /* instruction sets and libraries in use */
  diffulex_token bos_token; /* -1: the model has none */
  diffulex_token pad_token; /* -1: the model has none */
  /* Thresholds of requests that set none, [0, 1]: see the strategy options of these names. */
  float accept_threshold;
  float add_block_threshold;
  float semi_complete_threshold;
  float token_stability_threshold;
  uint32_t shifted; /* 1: the model predicts a position from the row in front of it */
  uint32_t reserved1;
} diffulex_engine_info;

/* What a request asks for. Zero (diffulex_request_params_init) is: greedy, 512 tokens. */
typedef struct diffulex_request_params {
  uint32_t struct_size;
  uint32_t flags;    /* DIFFULEX_REQUEST_* */
  float temperature; /* >= 0; 0 = greedy */
  float top_p;       /* (0, 1]; 0 = 1 = off */
  int32_t top_k;     /* 0 = off */
  float min_p;       /* [0, 1]: drops tokens less probable than min_p times the most probable one;
                        0 = off */
  float repetition_penalty; /* (0, 100]: logits of tokens that the prompt or the output so far holds
                               are divided by it (multiplied, where negative); 0 = 1 = off */
  uint32_t max_tokens;      /* output tokens; 0 = 512 */
  uint64_t seed;      /* of all draws of this request; the same seed gives the same draws under any
                         schedule */
  uint32_t max_steps; /* forwards over its blocks; those that only compute its prompt do not count;
                         0 = no limit */
  uint32_t max_repetition_run; /* so many equal output tokens in a row end the request, 2 and more;
                                  0 = no limit */
  int32_t priority;       /* higher is served earlier, -1000..1000: one level is a head start of 256
                             requests, so a request of lower priority waits longer but never for ever */
  uint32_t deadline_ms;   /* milliseconds after the submission, checked before each step, or each
                             schedule where device_steps is above 1; 0 = none */
  uint64_t user_tag;      /* returned in events and infos */
  const char* cache_salt; /* requests share cached prefixes only with equal salts; NULL = "" */
  const diffulex_token* stop_tokens; /* end the output when committed, beside the model's own */
  size_t stop_token_count;
  const char* const* stop_strings; /* end the output when committed, wherever tokens cut them; the
                                      text ends in front of one, the tokens with the one that
                                      completes it. Special tokens are no text */
  size_t stop_string_count;
  const diffulex_logit_bias* logit_bias; /* each token at most once */
  size_t logit_bias_count;
  const diffulex_kv* strategy_options; /* override the engine's strategy options for this request */
  size_t strategy_option_count;
} diffulex_request_params;

/* Something that happened to a request. Events of one request that nobody has read yet are merged:
 * counts add up, the rest is as of the latest. Nothing is lost and memory stays bounded. */
typedef struct diffulex_event {
  diffulex_event_type type; /* one DIFFULEX_EVENT_* */
  uint32_t flags;           /* 0 */
  diffulex_request_id request;
  uint64_t user_tag;
  uint64_t step; /* engine step */
  uint64_t time_ns;
  uint32_t committed_len;   /* output tokens that are final */
  uint32_t committed_delta; /* COMMIT: how many of them are new */
  uint32_t tentative_end;   /* output positions [committed_len, tentative_end) are tentative */
  uint32_t block_index;     /* block that holds the first tentative position */
  diffulex_finish finish;   /* FINISHED: why */
  diffulex_status status;   /* FINISHED with DIFFULEX_FINISH_ERROR, ENGINE_FAULT: what */
} diffulex_event;

/* One position of the canvas. */
typedef struct diffulex_slot {
  diffulex_token token; /* -1 when EMPTY */
  uint8_t state;        /* DIFFULEX_SLOT_EMPTY.. */
  uint8_t flags;        /* DIFFULEX_SLOT_CHANGED.. */
  uint16_t revisions;   /* times the slot was written */
  float
      confidence; /* probability of token when it was last scored; 0 = never (needs TRACK_SLOTS) */
  float entropy;  /* nats, of the distribution it was last scored with (needs TRACK_SLOTS) */
} diffulex_slot;

/* One block of the canvas. */
typedef struct diffulex_block {
  uint32_t index;  /* start / block_size */
  uint32_t start;  /* absolute position: the prompt begins at 0 */
  uint32_t length; /* tokens */
  diffulex_block_state state;
  uint32_t steps;        /* forwards it was denoised in */
  uint32_t filled;       /* slots that are not empty */
  uint32_t edits;        /* visible tokens that were rewritten */
  uint32_t remasks;      /* visible tokens that were emptied again */
  float mean_confidence; /* over its scored slots (needs TRACK_SLOTS) */
  float stable_ratio;    /* slots that the last step left alone, 0..1 */
} diffulex_block;

/* The canvas of a request after one step. */
typedef struct diffulex_snapshot {
  uint32_t struct_size;
  uint32_t flags; /* 0 */
  uint64_t step;  /* engine step it shows */
  uint32_t prompt_len;
  uint32_t committed_len;  /* output tokens that are final */
  uint32_t tentative_end;  /* end of the tentative output */
  uint32_t first_position; /* absolute position of slots[0] = start of blocks[0] */
  uint32_t slot_count;     /* slots there are; at most slot_capacity were written */
  uint32_t block_count;    /* blocks there are; at most block_capacity were written */
} diffulex_snapshot;

/* Where a request stands. */
typedef struct diffulex_request_info {
  uint32_t struct_size;
  diffulex_request_state state;
  diffulex_finish finish;
  diffulex_status status; /* DIFFULEX_OK unless finish is DIFFULEX_FINISH_ERROR */
  uint64_t user_tag;
  uint32_t prompt_len;    /* tokens */
  uint32_t cached_len;    /* prompt tokens that the prefix cache supplied at the last admission */
  uint32_t committed_len; /* output tokens that are final, the stop token included */
  uint32_t tentative_end;
  uint32_t steps;            /* forwards it took part in */
  uint32_t denoise_steps;    /* those in which a block was denoised */
  uint32_t forwarded_tokens; /* rows computed for it in all forwards */
  uint32_t preemptions;
  uint32_t edits;   /* visible tokens rewritten */
  uint32_t remasks; /* visible tokens emptied again */
  uint32_t active_blocks;
  int32_t stop_index;       /* output index of the token that ended it, -1 = none */
  uint64_t queued_ns;       /* submitted */
  uint64_t prefill_ns;      /* first admitted; 0 = not yet */
  uint64_t first_commit_ns; /* first token committed; 0 = not yet */
  uint64_t end_ns;          /* finished; 0 = not yet */
} diffulex_request_info;

/* Counters of an engine since it was created. */
typedef struct diffulex_engine_stats {
  uint32_t struct_size;
  uint32_t queued;    /* requests now waiting */
  uint32_t running;   /* requests now running */
  uint32_t preempted; /* requests now waiting because they were preempted */
  uint64_t steps;
  uint64_t forwarded_tokens; /* rows computed */
  uint64_t prefill_tokens;   /* rows below a window: prompts and rebuilds */
  uint64_t cached_tokens;    /* prompt and rebuild tokens that the prefix cache supplied */
  uint64_t committed_tokens; /* output tokens */
  uint64_t revealed_slots;   /* empty slots filled */
  uint64_t edited_slots;
  uint64_t remasked_slots;
  uint64_t finished; /* requests, whatever the reason */
  uint64_t aborted;
  uint64_t failed;
  uint64_t preemptions;
  uint32_t kv_pages_total;
  uint32_t kv_pages_free;    /* not referenced; cached ones included */
  uint32_t kv_pages_cached;  /* hold a reusable prefix, referenced or not */
  uint32_t kv_pages_pinned;  /* kept by diffulex_cache_pin */
  uint64_t busy_ns;          /* time spent in steps */
  uint64_t kv_pages_stored;  /* pages that became reusable */
  uint64_t kv_pages_evicted; /* reusable pages that other content replaced or a clear dropped */
  uint64_t kv_pages_reused;  /* pages that requests took over instead of computing them */
} diffulex_engine_stats;

/* One step of an engine. */
typedef struct diffulex_step_stats {
  uint64_t step;
  uint64_t start_ns;
  uint64_t duration_ns;
  uint64_t forward_ns; /* of it in the backend, or waiting for it */
  uint32_t requests;
  uint32_t rows;           /* tokens of the forward */
  uint32_t prefill_tokens; /* of them below a window */
  uint32_t active_blocks;
  uint32_t committed_tokens;
  uint32_t revealed_slots;
  uint32_t kv_pages_free;
  uint32_t reserved0;
} diffulex_step_stats;

/* An option. Strings live until the process ends. */
typedef struct diffulex_option_info {
  uint32_t struct_size;
  int32_t type; /* DIFFULEX_OPTION_* */
  const char* key;
  const char* default_value; /* as text; "" = derived, see summary */
  const char* allowed;       /* range or values, as text */
  const char* summary;       /* what it does, with units */
} diffulex_option_info;

/* A page of the prefix cache. */
typedef struct diffulex_cache_entry {
  uint64_t hash;        /* of all tokens up to the page's end and the salt */
  uint64_t parent_hash; /* of those before the page */
  uint32_t page;
  uint32_t token_count; /* page_size */
  uint32_t references;  /* requests and pins that hold the page now */
  uint32_t hits;        /* times a request took it over instead of computing it */
  uint64_t last_step;   /* engine step in which it was stored or taken over last */
} diffulex_cache_entry;

/* An engine option that a strategy runs with in one way only. Strings live until the process ends.
 */
typedef struct diffulex_requirement {
  uint32_t struct_size;
  uint32_t reserved0;
  const char* option;
  const char* value;
  const char* reason;
} diffulex_requirement;

/* ---- library
 * -----------------------------------------------------------------------------------------------------
 */

/* MAJOR * 10000 + MINOR * 100 + PATCH of the library that runs. @thread S */
DIFFULEX_API uint32_t diffulex_version(void);
/* "MAJOR.MINOR.PATCH"; static. @thread S */
DIFFULEX_API const char* diffulex_version_string(void);
/* DIFFULEX_ABI_VERSION of the library that runs. @thread S */
DIFFULEX_API uint32_t diffulex_abi_version(void);
/* Compiler, build type, libraries and devices compiled for, as one JSON object; static. @thread S
 */
DIFFULEX_API const char* diffulex_build_info(void);
/* 1 when the build has the feature ("cpu", "cuda", ...), else 0. NULL gives 0. @thread S */
DIFFULEX_API int32_t diffulex_has_feature(const char* name);
/* The index-th feature of the build, NULL behind the last; static. @thread S */
DIFFULEX_API const char* diffulex_feature_name(size_t index);
/* "DIFFULEX_E_IO" and the like, for unknown values "DIFFULEX_UNKNOWN"; static. @thread S */
DIFFULEX_API const char* diffulex_status_name(diffulex_status status);
/* Receives what is logged outside any engine (tokenizers, failed creates); NULL turns it off, which
 * is the default.
 * @thread A */
DIFFULEX_API void diffulex_set_log(diffulex_log_fn fn, void* user_data, diffulex_log_level level);

/* ---- errors
 * ------------------------------------------------------------------------------------------------------
 */

/* The status that the failing call returned; DIFFULEX_OK for NULL. @thread S */
DIFFULEX_API diffulex_status diffulex_error_status(const diffulex_error* error);
/* One sentence that names the field, file or tensor. Lives until the error is freed; "" for NULL.
 * @thread S */
DIFFULEX_API const char* diffulex_error_message(const diffulex_error* error);
/* A detail by key: "option" (field, parameter or option), "contradicts" (the other one), "allowed",
 * "path", "tensor", "key" (of config.json), "line" (of a chat template), "device", "bytes_needed",
 * "bytes_free". NULL when there is none. Lives until the error is freed. @thread S */
DIFFULEX_API const char* diffulex_error_detail(const diffulex_error* error, const char* key);
/* Frees an error; NULL is fine. @thread S */
DIFFULEX_API void diffulex_error_free(diffulex_error* error);

/* ---- devices
 * -----------------------------------------------------------------------------------------------------
 */

/* Devices that this build knows of, usable or not. Creates no device context. @thread S */
DIFFULEX_API size_t diffulex_device_count(void);
/* Describes one. Errors: NOT_FOUND, INVALID_ARGUMENT, ABI_MISMATCH. @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_device_get(size_t index,
                                                                diffulex_device_info* out,
                                                                diffulex_error** error);

/* ---- options that describe themselves
 * ------------------------------------------------------------------------------ */

/* The index-th strategy, NULL behind the last; static. @thread S */
DIFFULEX_API const char* diffulex_strategy_name(size_t index);
/* One line about a strategy, NULL when there is none of that name; static. @thread S */
DIFFULEX_API const char* diffulex_strategy_summary(const char* strategy);
/* The index-th option of a strategy. Errors: STRATEGY_UNSUPPORTED, NOT_FOUND (behind the last).
 * @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_strategy_option(const char* strategy,
                                                                     size_t index,
                                                                     diffulex_option_info* out,
                                                                     diffulex_error** error);
/* The index-th engine option that a strategy requires: asking for another value is refused with
 * INVALID_ARGUMENT (details "option", "contradicts"), asking for none gives this one. Errors:
 * STRATEGY_UNSUPPORTED, NOT_FOUND (behind the last). @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_strategy_requirement(const char* strategy,
                                                                          size_t index,
                                                                          diffulex_requirement* out,
                                                                          diffulex_error** error);
/* The index-th engine option. Errors: NOT_FOUND (behind the last). @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_option(size_t index,
                                                                   diffulex_option_info* out,
                                                                   diffulex_error** error);

/* ---- engine
 * ------------------------------------------------------------------------------------------------------
 */

/* Fills a config with defaults. struct_size: sizeof(diffulex_engine_config) of the caller. @thread
 * S */
DIFFULEX_API void diffulex_engine_config_init(diffulex_engine_config* config, size_t struct_size);
/* What an engine of this config would need. Reads metadata only; no weight is touched. Errors: as
 * diffulex_engine_create; too little memory is no error here, see shortfall_bytes. @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_plan(
    const diffulex_engine_config* config, diffulex_plan* out, diffulex_error** error);
/* Loads a model and makes an engine, which the caller destroys. On failure nothing stays allocated.
 * One error tells everything that is wrong with a model directory. Errors: INVALID_ARGUMENT,
 * UNKNOWN_OPTION, IO, MODEL_FORMAT, MODEL_UNSUPPORTED, STRATEGY_UNSUPPORTED, TOKENIZER,
 * HOST_MEMORY, DEVICE_MEMORY, DEVICE_UNAVAILABLE, DEVICE_FAULT, UNSUPPORTED, CANCELLED,
 * ABI_MISMATCH. @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_create(
    const diffulex_engine_config* config, diffulex_engine** out, diffulex_error** error);
/* Aborts what runs, joins the engine's thread and frees everything; NULL is fine. @thread X */
DIFFULEX_API void diffulex_engine_destroy(diffulex_engine* engine);
/* What the engine runs with. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_get_info(const diffulex_engine* engine,
                                                                     diffulex_engine_info* out,
                                                                     diffulex_error** error);
/* The engine's tokenizer, borrowed: it lives as long as the engine; retain it to keep it longer.
 * NULL when the model directory has none. @thread A */
DIFFULEX_API const diffulex_tokenizer* diffulex_engine_tokenizer(const diffulex_engine* engine);
/* Manual mode: schedules, runs one forward, samples and publishes the result; with the engine
 * option device_steps above 1, so many of them while all requests decode and nothing comes up: a
 * submission, an abort, a deadline or the end of a request is seen to within two steps.
 * DIFFULEX_S_IDLE when no request can run. Errors: INVALID_STATE (thread mode, or another thread is
 * in this function); HOST_MEMORY, DEVICE_MEMORY: the step at hand has changed nothing and may be
 * tried again; INTERNAL: the requests that took part have ended with DIFFULEX_FINISH_ERROR, the
 * others go on; DEVICE_FAULT: every request has ended and only reads work from now on. @thread O */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_step(diffulex_engine* engine,
                                                                 diffulex_error** error);
/* Thread mode: starts the stepping thread. Errors: INVALID_STATE (manual mode, already started).
 * @thread O */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_start(diffulex_engine* engine,
                                                                  diffulex_error** error);
/* Thread mode: ends the stepping thread. drain 1: finishes every request first; 0: aborts them.
 * Errors: INVALID_STATE (not started). @thread O */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_stop(diffulex_engine* engine,
                                                                 int32_t drain,
                                                                 diffulex_error** error);
/* Waits for events of any request and takes up to `capacity` of them. events: array of elements of
 * `stride` bytes. timeout_ms: 0 polls, -1 waits until an event, an interrupt or the end of the
 * engine's thread. DIFFULEX_S_TIMEOUT with *out_count 0 when none came. Errors: INVALID_ARGUMENT.
 * @thread A (the one class-A function that waits) */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_wait(
    diffulex_engine* engine, diffulex_event* events, size_t stride, size_t capacity,
    size_t* out_count, int64_t timeout_ms, diffulex_error** error);
/* Makes every diffulex_engine_wait that waits now return DIFFULEX_S_TIMEOUT. @thread A */
DIFFULEX_API void diffulex_engine_interrupt(diffulex_engine* engine);

/* ---- requests
 * ----------------------------------------------------------------------------------------------------
 */

/* Fills params with defaults. struct_size: sizeof(diffulex_request_params) of the caller. @thread S
 */
DIFFULEX_API void diffulex_request_params_init(diffulex_request_params* params, size_t struct_size);
/* Queues a prompt of `count` token ids; everything is copied. params NULL: defaults. The caller
 * releases the request. Errors: INVALID_ARGUMENT (empty prompt, ids out of range, mask ids, bad
 * params), UNKNOWN_OPTION, QUEUE_FULL, CONTEXT_LENGTH, INVALID_STATE, DEVICE_FAULT, ABI_MISMATCH.
 * @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_submit(
    diffulex_engine* engine, const diffulex_token* tokens, size_t count,
    const diffulex_request_params* params, diffulex_request_id* out, diffulex_error** error);
/* Queues text of `size` bytes, encoded with DIFFULEX_TEXT_PARSE_SPECIAL: what
 * diffulex_tokenizer_render_chat made keeps its markers. Encode text from strangers with
 * diffulex_tokenizer_encode instead. Errors: as diffulex_request_submit, TOKENIZER.
 * @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_submit_text(
    diffulex_engine* engine, const char* text, size_t size, const diffulex_request_params* params,
    diffulex_request_id* out, diffulex_error** error);
/* Ends a request at the next step boundary; what was committed stays readable. Idempotent. Errors:
 * NOT_FOUND. @thread A */
DIFFULEX_API diffulex_status diffulex_request_abort(diffulex_engine* engine,
                                                    diffulex_request_id request);
/* Aborts the request if it runs and forgets it: the id is dead from now on. Errors: NOT_FOUND.
 * @thread A */
DIFFULEX_API diffulex_status diffulex_request_release(diffulex_engine* engine,
                                                      diffulex_request_id request);
/* Where the request stands after the last step. Errors: NOT_FOUND. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_get_info(const diffulex_engine* engine,
                                                                      diffulex_request_id request,
                                                                      diffulex_request_info* out,
                                                                      diffulex_error** error);
/* Copies committed output tokens from index `offset` on. *out_count: how many were copied.
 * DIFFULEX_S_END when the request has finished and the copy reaches its last token. Errors:
 * NOT_FOUND, INVALID_ARGUMENT. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_read_tokens(
    const diffulex_engine* engine, diffulex_request_id request, size_t offset,
    diffulex_token* tokens, size_t capacity, size_t* out_count, diffulex_error** error);
/* Copies committed output text from byte `offset` on, without a NUL. The text only ever grows, in
 * whole UTF-8 characters; special tokens are left out, and what may become a stop string is held
 * back. DIFFULEX_S_END as above. Errors: NOT_FOUND,
 * INVALID_ARGUMENT, TOKENIZER (no tokenizer).
 * @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_read_text(
    const diffulex_engine* engine, diffulex_request_id request, size_t offset, char* text,
    size_t capacity, size_t* out_size, diffulex_error** error);
/* Copies the canvas after the last step: the blocks from the one that holds the end of the prompt
 * to the last in flight. slots and blocks may be NULL with capacity 0. Errors: NOT_FOUND,
 * INVALID_ARGUMENT, ABI_MISMATCH. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_request_snapshot(
    const diffulex_engine* engine, diffulex_request_id request, diffulex_snapshot* out,
    diffulex_slot* slots, size_t slot_stride, size_t slot_capacity, diffulex_block* blocks,
    size_t block_stride, size_t block_capacity, diffulex_error** error);

/* ---- prefix cache: pages of keys and values by the tokens they were computed from
 * -----------------------------------------------------------------------------------------------------
 * Without prefix caching it is empty. salt: NULL = "", as in diffulex_request_params. Pages pinned
 * or stored by the last step are seen at once; none of these functions waits for a step.
 */

/* How many leading tokens a request of these tokens would not have to compute: a multiple of the
 * page size. Changes nothing, not even the order in which pages are evicted. Errors:
 * INVALID_ARGUMENT. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_cache_match(const diffulex_engine* engine,
                                                                 const diffulex_token* tokens,
                                                                 size_t count, const char* salt,
                                                                 size_t* out_matched,
                                                                 diffulex_error** error);
/* Copies the reusable pages, in order of their numbers, into elements of `stride` bytes.
 * *out_count: how many there are, also when capacity is too small (BUFFER_TOO_SMALL); entries may
 * be NULL with capacity 0 to ask for it. Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_cache_list(const diffulex_engine* engine,
                                                                diffulex_cache_entry* entries,
                                                                size_t stride, size_t capacity,
                                                                size_t* out_count,
                                                                diffulex_error** error);
/* Keeps what the cache holds of these tokens until diffulex_cache_unpin. *out_pin names the pin,
 * ends with the engine at the latest; *out_pinned: leading tokens it covers (NULL: not asked).
 * Errors: NOT_FOUND (the cache holds none), HOST_MEMORY (too few pages would be left for a request
 * of max_model_len), INVALID_ARGUMENT. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status
diffulex_cache_pin(diffulex_engine* engine, const diffulex_token* tokens, size_t count,
                   const char* salt, uint64_t* out_pin, size_t* out_pinned, diffulex_error** error);
/* Gives the pages of a pin back to the order of eviction. Errors: NOT_FOUND. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_cache_unpin(diffulex_engine* engine,
                                                                 uint64_t pin,
                                                                 diffulex_error** error);
/* Makes every page that is not pinned unknown to later requests; requests that run keep theirs.
 * @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_cache_clear(diffulex_engine* engine,
                                                                 diffulex_error** error);

/* ---- text
 * --------------------------------------------------------------------------------------------------------
 */

/* Loads the tokenizer of a directory: tokenizer.json, or else vocab.json with merges.txt, with the
 * added tokens that the other files name. The caller releases the tokenizer. Errors: IO, TOKENIZER.
 * @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_tokenizer_load(const char* model_dir,
                                                                    diffulex_tokenizer** out,
                                                                    diffulex_error** error);
/* One more reference to the same tokenizer; NULL gives NULL. @thread S */
DIFFULEX_API diffulex_tokenizer* diffulex_tokenizer_retain(const diffulex_tokenizer* tokenizer);
/* Gives one reference back; NULL is fine. @thread S */
DIFFULEX_API void diffulex_tokenizer_release(diffulex_tokenizer* tokenizer);
/* Ids are [0, vocab_size), added tokens included. @thread S */
DIFFULEX_API int32_t diffulex_tokenizer_vocab_size(const diffulex_tokenizer* tokenizer);
/* The id of a token by role ("eos", "bos", "pad", "mask") or by text ("<|im_end|>"), -1 when there
 * is none. @thread S */
DIFFULEX_API diffulex_token diffulex_tokenizer_special(const diffulex_tokenizer* tokenizer,
                                                       const char* name);
/* Encodes `size` bytes of text. *out_count is the number of tokens, also when capacity is too small
 * (DIFFULEX_E_BUFFER_TOO_SMALL); tokens may be NULL with capacity 0 to ask for it. flags:
 * DIFFULEX_TEXT_PARSE_SPECIAL. Invalid UTF-8 is read as U+FFFD. @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_tokenizer_encode(
    const diffulex_tokenizer* tokenizer, const char* text, size_t size, uint32_t flags,
    diffulex_token* tokens, size_t capacity, size_t* out_count, diffulex_error** error);
/* Decodes tokens to text without a NUL. *out_size is the number of bytes, also when capacity is too
 * small. flags: DIFFULEX_TEXT_KEEP_SPECIAL. Incomplete UTF-8 is written as U+FFFD. Errors:
 * INVALID_ARGUMENT (an id out of range), BUFFER_TOO_SMALL. @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_tokenizer_decode(
    const diffulex_tokenizer* tokenizer, const diffulex_token* tokens, size_t count, uint32_t flags,
    char* text, size_t capacity, size_t* out_size, diffulex_error** error);
/* Renders a conversation as the model's prompt, without a NUL: with the checkpoint's own chat
 * template, or as ChatML where it has none. options_json: NULL or an object with the keys
 * "add_generation_prompt" (default true: opens the assistant's turn), "enable_thinking" (bool) and,
 * for a template, "messages" (list of objects in place of `messages`; count is 0), "tools",
 * "documents" (lists), "variables" (object: what else the template knows), "template" (one of
 * several by name). *out_size as above. Errors: INVALID_ARGUMENT (also what the template itself
 * finds fault with), UNKNOWN_OPTION, UNSUPPORTED (the template uses what is not covered, or the
 * tokenizer lacks ChatML's markers), TOKENIZER (the template is malformed or fails),
 * BUFFER_TOO_SMALL. Those of a template have details "path" and "line". @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_tokenizer_render_chat(
    const diffulex_tokenizer* tokenizer, const diffulex_message* messages, size_t count,
    const char* options_json, char* text, size_t capacity, size_t* out_size,
    diffulex_error** error);
/* An incremental decoder; keeps its own reference to the tokenizer. The caller destroys it. flags:
 * DIFFULEX_TEXT_KEEP_SPECIAL.
 * @thread S */
DIFFULEX_API DIFFULEX_CHECK diffulex_status
diffulex_detok_create(const diffulex_tokenizer* tokenizer, uint32_t flags, diffulex_detok** out,
                      diffulex_error** error);
/* Takes tokens and gives the text that is complete, without a NUL; bytes of an unfinished character
 * are held back. When capacity is too small nothing is taken, and *out_size says what is needed.
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL.
 * @thread O */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_detok_push(diffulex_detok* detok,
                                                                const diffulex_token* tokens,
                                                                size_t count, char* text,
                                                                size_t capacity, size_t* out_size,
                                                                diffulex_error** error);
/* Gives what is held back, an unfinished character as U+FFFD, and starts over. Errors:
 * BUFFER_TOO_SMALL. @thread O */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_detok_flush(diffulex_detok* detok, char* text,
                                                                 size_t capacity, size_t* out_size,
                                                                 diffulex_error** error);
/* Frees it; NULL is fine. @thread X */
DIFFULEX_API void diffulex_detok_destroy(diffulex_detok* detok);

/* ---- observe
 * -----------------------------------------------------------------------------------------------------
 */

/* Counters after the last step. @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_get_stats(const diffulex_engine* engine,
                                                                      diffulex_engine_stats* out,
                                                                      diffulex_error** error);
/* Steps from number `first_step` on, as far as they are remembered, oldest first. *out_count: how
 * many were copied.
 * @thread A */
DIFFULEX_API DIFFULEX_CHECK diffulex_status diffulex_engine_read_steps(
    const diffulex_engine* engine, uint64_t first_step, diffulex_step_stats* out, size_t stride,
    size_t capacity, size_t* out_count, diffulex_error** error);

#ifdef __cplusplus
}
#endif
#endif /* DIFFULEX_H */
