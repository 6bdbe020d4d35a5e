/* TOY air showers in the record format of CORSIKA 7. This is not CORSIKA, and its physics has no meaning.
 *
 *     toy_corsika [CARD [LOG]]     run card from a file or standard input, log to a file or standard output
 *
 * CORSIKA is licensed and chosen at compile time; so is this stand-in, with the same choices:
 *     -DHIGH_MODEL=SIBYLL -DLOW_MODEL=URQMD -DGEOMETRY=FLAT [-DCERENKOV] [-DNEUTRINO] [-DTHIN]
 * It writes DATnnnnnn: Fortran records of 21 sub-blocks with 273 float32 (312 with THIN): RUNH, and for each
 * shower EVTH, particles, EVTE, at last RUNE. The same card gives the same bytes.
 * Units as in CORSIKA: GeV, cm, ns, g/cm2; degrees in the card, radians in the file.
 * Exit codes: 0 good, 2 wrong card, 3 input or output failed. Sources: CORSIKA user guide 7.5, tables 7 to 11.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers as CORSIKA writes them into words 75 and 76 of the event header. */
enum high_model { HDPM, VENUS, SIBYLL, QGSJET, DPMJET, NEXUS, EPOS };
enum low_model { GHEISHA = 1, URQMD, FLUKA };
enum geometry { FLAT, CURVED, VOLUMEDET, VOLUMEDET_CURVED };
enum { ROUND = GEOMETRY == CURVED || GEOMETRY == VOLUMEDET_CURVED };  /* the atmosphere */
enum { DEEP = GEOMETRY == VOLUMEDET || GEOMETRY == VOLUMEDET_CURVED }; /* the detector */
#define TEXT(x) TEXT_OF(x)
#define TEXT_OF(x) #x
static const char HIGH_NAME[] = TEXT(HIGH_MODEL), LOW_NAME[] = TEXT(LOW_MODEL), GEOMETRY_NAME[] = TEXT(GEOMETRY);

#ifdef THIN
enum { WORDS = 312, PARTICLE = 8, THINNED = 10 }; /* every particle stands for ten */
#else
enum { WORDS = 273, PARTICLE = 7, THINNED = 1 };
#endif
enum { BLOCKS = 21, PER_BLOCK = 39, LEVELS = 10, SEQUENCES = 7, USES = 20, LINE = 512 };
enum { PHOTON = 1, ELECTRON = 3, MUON_PLUS = 5, MUON_MINUS = 6, PROTON = 14, NEUTRINO_MU = 68 };
enum { MOST_WRITTEN = 400 }; /* particles of one kind, shower and level */

static const double PI = 3.14159265358979323846, LIGHT_CM_NS = 29.9792458, MUON_MASS = 0.105658;
static const double VERSION = 7.7, DATE = 260101, ATMOSPHERE_CM = 11282920.0;

struct card {
    double run, first, showers, primary, slope, energy[2], theta[2], phi[2], seed[SEQUENCES][3], level[LEVELS];
    double cut[4], core[3], cone[2], height[2], atmosphere, field[2];
    int sequences, levels, ended;
    char text[64 * LINE];
};
struct sums { double photons, electrons, hadrons, muons, written; };

static FILE *out, *log_;
static uint64_t state;
static float block[WORDS];
static int filled, in_record;

static void stop(int code, const char *what, const char *which) {
    fprintf(stderr, "toy_corsika: %s: %s\n", which, what);
    exit(code);
}

/* --- random numbers: splitmix64, fed with every number of every SEED line ------------------------ */

static double uniform(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(2 * PI * uniform()); }

static void sow(const struct card *card) {
    for (int i = 0; i < card->sequences; i++)
        for (int k = 0; k < 3; k++) state = (state + (uint64_t)card->seed[i][k] + 1) * 0xD1342543DE82EF95u + 1;
}

/* --- the run card --------------------------------------------------------------------------------- */

static int numbers(const char *text, double *into, int most) {
    int n = 0;
    for (char *end; n < most; n++, text = end) {
        double value = strtod(text, &end);
        if (end == text) break;
        into[n] = value;
    }
    return n;
}

static void take(struct card *card, const char *key, const char *rest) {
    struct { const char *key; double *into; int least, most; } fields[] = {
        {"RUNNR", &card->run, 1, 1},      {"EVTNR", &card->first, 1, 1},   {"NSHOW", &card->showers, 1, 1},
        {"PRMPAR", &card->primary, 1, 1}, {"ESLOPE", &card->slope, 1, 1},  {"ERANGE", card->energy, 2, 2},
        {"THETAP", card->theta, 2, 2},    {"PHIP", card->phi, 2, 2},       {"ECUTS", card->cut, 4, 4},
        {"CSCAT", card->core, 3, 3},      {"VIEWCONE", card->cone, 2, 2},  {"FIXHEI", card->height, 1, 2},
        {"ATMOD", &card->atmosphere, 1, 1}, {"MAGNET", card->field, 2, 2},
    };
    if (!strcmp(key, "EXIT")) { card->ended = 1; return; }
    if (!strcmp(key, "DIRECT") || !strcmp(key, "USER")) return;
    if (!strcmp(key, "SEED")) {
        if (card->sequences == SEQUENCES) stop(2, "more than 7 sequences", key);
        if (numbers(rest, card->seed[card->sequences++], 3) < 3) stop(2, "needs 3 numbers", key);
        return;
    }
    if (!strcmp(key, "OBSLEV")) {
        if (card->levels == LEVELS) stop(2, "more than 10 levels", key);
        if (numbers(rest, &card->level[card->levels++], 1) < 1) stop(2, "needs a number", key);
        return;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!strcmp(key, fields[i].key)) {
            if (numbers(rest, fields[i].into, fields[i].most) < fields[i].least) stop(2, "too few numbers", key);
            return;
        }
    stop(2, "unknown keyword of the run card", key);
}

static void read_card(struct card *card, FILE *in) {
    char line[LINE], key[LINE];
    int at;
    while (!card->ended && fgets(line, sizeof line, in)) {
        if (strlen(card->text) + strlen(line) < sizeof card->text) strcat(card->text, line);
        if (sscanf(line, "%511s%n", key, &at) == 1 && key[0] != '*') take(card, key, line + at);
    }
    if (!card->ended) stop(2, "the run card ends before it", "EXIT");
    if (card->run < 1 || card->run > 999999) stop(2, "allowed 1 to 999999", "RUNNR");
    if (card->showers < 1) stop(2, "allowed from 1", "NSHOW");
    if (card->energy[0] <= 0 || card->energy[1] < card->energy[0]) stop(2, "allowed 0 < low <= high", "ERANGE");
    if (card->sequences < 2) stop(2, "needs 2 to 7 sequences", "SEED");
}

/* --- records -------------------------------------------------------------------------------------- */

static void put_block(const char *tag) {
    const int32_t size = WORDS * BLOCKS * 4;
    if (tag) memcpy(block, tag, 4);
    if (in_record == 0) fwrite(&size, 4, 1, out);
    fwrite(block, 4, WORDS, out);
    if (++in_record == BLOCKS) { fwrite(&size, 4, 1, out); in_record = 0; }
    memset(block, 0, sizeof block);
}

static void put_particle(const double *values, struct sums *sums) {
    for (int i = 0; i < PARTICLE; i++) block[filled++] = (float)values[i];
    sums->written++;
    if (filled == PER_BLOCK * PARTICLE) { put_block(NULL); filled = 0; }
}

static void set(int word, double value) { block[word - 1] = (float)value; } /* words count from 1 */

static void run_header(const struct card *card) {
    set(2, card->run); set(3, DATE); set(4, VERSION); set(5, card->levels);
    for (int i = 0; i < card->levels; i++) set(6 + i, card->level[i]);
    set(16, card->slope); set(17, card->energy[0]); set(18, card->energy[1]);
    for (int i = 0; i < 4; i++) set(21 + i, card->cut[i]);
    set(93, card->showers);
    put_block("RUNH");
}

static void event_header(const struct card *card, double number, double energy, double theta, double phi,
                         double first_cm) {
    double p = energy;
    set(2, number); set(3, card->primary); set(4, energy); set(7, first_cm);
    set(8, p * sin(theta) * cos(phi)); set(9, p * sin(theta) * sin(phi)); set(10, -p * cos(theta));
    set(11, theta); set(12, phi); set(13, card->sequences);
    for (int i = 0; i < card->sequences; i++)
        for (int k = 0; k < 3; k++) set(14 + 3 * i + k, card->seed[i][k]);
    set(44, card->run); set(45, DATE); set(46, VERSION); set(47, card->levels);
    for (int i = 0; i < card->levels; i++) set(48 + i, card->level[i]);
    set(58, card->slope); set(59, card->energy[0]); set(60, card->energy[1]);
    for (int i = 0; i < 4; i++) set(61 + i, card->cut[i]);
    set(71, card->field[0]); set(72, card->field[1]);
    set(75, LOW_MODEL); set(76, HIGH_MODEL);
#ifdef CERENKOV
    set(77, 1);
#endif
#ifdef NEUTRINO
    set(78, 1);
#endif
    set(79, ROUND ? 2 : 0); set(80, 3);
    set(81, card->theta[0]); set(82, card->theta[1]); set(83, card->phi[0]); set(84, card->phi[1]);
    int uses = (int)card->core[0] < USES ? (int)card->core[0] : USES;
    set(98, uses);
    for (int i = 0; i < uses; i++) {
        set(99 + i, card->core[1] * (2 * uniform() - 1)); set(119 + i, card->core[2] * (2 * uniform() - 1));
    }
    set(153, card->cone[0]); set(154, card->cone[1]);
    put_block("EVTH");
}

/* --- the toy -------------------------------------------------------------------------------------- */

static double primary_energy(const struct card *card) {
    double low = card->energy[0], high = card->energy[1], g = card->slope + 1, u = uniform();
    if (low == high) return low;
    if (fabs(g) < 1e-9) return low * pow(high / low, u);
    return pow(pow(low, g) + u * (pow(high, g) - pow(low, g)), 1 / g);
}

/* A flat detector sees showers by its projected area, a volume by solid angle alone. */
static double zenith(const struct card *card) {
    double low = card->theta[0] * PI / 180, high = card->theta[1] * PI / 180, u = uniform();
    if (low == high) return low + card->cone[1] * PI / 180 * sqrt(u);
    if (DEEP) return acos(cos(low) + u * (cos(high) - cos(low)));
    return asin(sqrt(pow(sin(low), 2) + u * (pow(sin(high), 2) - pow(sin(low), 2))));
}

/* Thickness of air in g/cm2 that a shower crosses down to a height in cm. */
static double depth_at(double height_cm, double theta) {
    double slant = cos(theta);
    if (ROUND) slant += 0.15 * exp(-11 * slant); /* the earth is round: no infinite path */
    return 1030 * exp(-height_cm / 8e5) / (slant > 0.05 ? slant : 0.05);
}

static void scatter(int kind, double wanted, double cut, double spread_cm, int level, double height_cm,
                    struct sums *sums) {
    int n = (int)(wanted / THINNED + uniform());
    if (n > MOST_WRITTEN) n = MOST_WRITTEN;
    for (int i = 0; i < n; i++) {
        double energy = cut * pow(uniform(), -1 / 1.7), r = spread_cm * -log(uniform()), a = 2 * PI * uniform();
        double tilt = 0.05 * normal(), mass = kind == MUON_PLUS ? MUON_MASS : 0;
        double p = sqrt(energy * energy + 2 * energy * mass);
        int id = kind == MUON_PLUS && uniform() < 0.45 ? MUON_MINUS : kind;
        double values[8] = {id * 1000 + 10 + level, p * sin(tilt) * cos(a), p * sin(tilt) * sin(a), p * cos(tilt),
                            r * cos(a), r * sin(a), height_cm / LIGHT_CM_NS + r / LIGHT_CM_NS * 0.1, THINNED};
        put_particle(values, sums);
    }
    if (kind == PHOTON) sums->photons += n * THINNED;
    else if (kind == ELECTRON) sums->electrons += n * THINNED;
    else if (kind == MUON_PLUS) sums->muons += n * THINNED;
    else if (kind == PROTON) sums->hadrons += n * THINNED;
}

static void shower(const struct card *card, double number) {
    /* Heitler-Matthews: N_mu = a (E/TeV)^beta; each interaction model has its own a and beta. */
    const double muons_at_tev[] = {9, 10, 11, 10, 11, 10, 12}, beta[] = {0.9, 0.9, 0.92, 0.91, 0.92, 0.91, 0.93};
    const double low_energy[] = {1, 1, 1.03, 1.05};
    double energy = primary_energy(card), theta = zenith(card);
    double phi = (card->phi[0] + uniform() * (card->phi[1] - card->phi[0])) * PI / 180;
    double first = card->height[0] > 0 ? card->height[0] : 8e5 * log(1030 / (60 * -log(uniform()) + 1e-3));
    double hadronic = card->primary > 3 ? 1 : 0.05;
    double maximum = 320 + 60 * log10(energy / 100) + 25 * normal();
    struct sums sums = {0};
    if (first > ATMOSPHERE_CM) first = ATMOSPHERE_CM;
    event_header(card, number, energy, theta, phi, first);
    for (int level = 0; level < card->levels; level++) {
        double height = card->level[level], beyond = (depth_at(height, theta) - maximum) / 150;
        double em = 0.5 * energy * exp(-0.5 * beyond * beyond / (1 + 0.3 * fabs(beyond)));
        double muons = hadronic * muons_at_tev[HIGH_MODEL] * low_energy[LOW_MODEL] * pow(energy / 1000, beta[HIGH_MODEL]);
        muons *= pow(card->cut[1] / 0.3, -0.5);
        scatter(PHOTON, em / (1 + 50 * card->cut[3]), card->cut[3], 1.0e4, level + 1, first - height, &sums);
        scatter(ELECTRON, 0.2 * em / (1 + 50 * card->cut[2]), card->cut[2], 0.9e4, level + 1, first - height, &sums);
        scatter(MUON_PLUS, muons, card->cut[1], 2.5e4, level + 1, first - height, &sums);
        scatter(PROTON, 0.02 * muons, card->cut[0], 0.5e4, level + 1, first - height, &sums);
#ifdef NEUTRINO
        scatter(NEUTRINO_MU, muons, card->cut[1], 2.5e4, level + 1, first - height, &sums);
#endif
    }
    if (filled) { put_block(NULL); filled = 0; }
    set(2, number); set(3, sums.photons); set(4, sums.electrons); set(5, sums.hadrons); set(6, sums.muons);
    set(7, sums.written);
    put_block("EVTE");
    fprintf(log_, " SHOWER NO %10.0f  E =%13.5E GEV  THETA =%7.2f DEG  MUONS =%8.0f  PARTICLES =%8.0f\n", number,
            energy, theta * 180 / PI, sums.muons, sums.written);
#ifdef CERENKOV
    fprintf(log_, " CHERENKOV PHOTONS (TOY)  =%13.5E\n", 1e3 * energy);
#endif
}

static void heading(const struct card *card) {
    fprintf(log_, " TOY AIR SHOWERS, NOT CORSIKA: WITHOUT PHYSICAL MEANING\n\n");
    fprintf(log_, " HIGH ENERGY MODEL (TOY OF) %s, LOW ENERGY MODEL (TOY OF) %s, GEOMETRY %s\n", HIGH_NAME,
            LOW_NAME, GEOMETRY_NAME);
    fprintf(log_, " DATA CARDS FOR RUN STEERING\n\n%s\n END OF DATACARD INPUT\n\n", card->text);
    fprintf(log_, " ========== START OF RUN =======================================================\n");
}

int main(int count, char **words) {
    static struct card card = {.first = 1, .primary = PROTON, .slope = -2.7, .cut = {0.3, 0.3, 0.003, 0.003},
                               .atmosphere = 1, .field = {20, 42.8}};
    char name[32];
    FILE *in = count > 1 ? fopen(words[1], "r") : stdin;
    if (!in) stop(3, "cannot be read", words[1]);
    log_ = count > 2 ? fopen(words[2], "w") : stdout;
    if (!log_) stop(3, "cannot be written", words[2]);
    read_card(&card, in);
    if (card.levels == 0) card.levels = 1;
    sow(&card);
    snprintf(name, sizeof name, "DAT%06.0f", card.run);
    if (!(out = fopen(name, "wb"))) stop(3, "cannot be written", name);
    heading(&card);
    run_header(&card);
    for (int i = 0; i < (int)card.showers; i++) shower(&card, card.first + i);
    set(2, card.run); set(3, card.showers);
    put_block("RUNE");
    while (in_record) put_block(NULL);
    if (ferror(out) | fclose(out)) stop(3, "cannot be written whole", name);
    fprintf(log_, "\n NUMBER OF GENERATED EVENTS = %10.0f\n", card.showers);
    fprintf(log_, "\n ========== END OF RUN ================================================\n");
    if (ferror(log_) | fclose(log_)) stop(3, "cannot be written whole", "log");
    return 0;
}
