"""Makes Rucio's schema, its virtual organisation and the root account. Needs RUCIO_HOME."""
# ruff: noqa: TID253  this runs in the Rucio server's environment

from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

if __name__ == "__main__":
    build_database()
    create_base_vo()
    create_root_account()
