from skin_cancer.diagnoses import BY_CODE, BY_HAM_CODE, ISIC_2018, ISIC_2019, TAXONOMY


def test_isic_order():
    assert [d.code for d in ISIC_2018] == ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert [d.code for d in ISIC_2019] == [*(d.code for d in ISIC_2018), "SCC"]


def test_ham_codes_are_those_of_the_dataset():
    assert set(BY_HAM_CODE) == {"mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"}
    assert all(BY_HAM_CODE[d.ham_code] is d for d in ISIC_2018)


def test_malignant_ones():
    assert {d.code for d in ISIC_2019 if d.malignant} == {"MEL", "BCC", "AKIEC", "SCC"}


def test_akiec_is_named_for_what_it_is():
    akiec = BY_CODE["AKIEC"]
    assert akiec.name == "actinic keratosis / intraepithelial carcinoma"
    assert "Bowen's disease: squamous cell carcinoma in situ" in akiec.meaning


def test_each_has_its_own_colour_and_one_sentence():
    assert len({d.colour for d in ISIC_2019}) == len(ISIC_2019)
    assert all(d.meaning.endswith(".") and ". " not in d.meaning for d in ISIC_2019)


def test_words_of_every_archive_mean_diagnoses_that_there_are():
    for words in TAXONOMY.values():
        assert {code for meant in words.values() for code in meant} <= set(BY_CODE)


def test_bowens_disease_is_akiec_and_may_be_scc_in_isic_2019():
    assert TAXONOMY["ISIC 2019"]["SCC"] == ("SCC", "AKIEC")
    assert TAXONOMY["MILK10k"]["SCCKA"] == ("SCC",)
    assert TAXONOMY["HAM10000"]["akiec"] == TAXONOMY["MILK10k"]["AKIEC"] == ("AKIEC",)
    assert TAXONOMY["MILK10k"]["INF"] == ()
